-- booking.is_webhook_processed(): whether an event was dealt with for good.
select plan(7);
create temp table t as select test.book() as b;
do $$ begin perform test.prepare(b) from t;
  perform test.event('payment_intent.processing', test.intent(b, 'processing'), 'evt_done') from t;
  perform test.event('customer.created', '{"id": "cus_1", "object": "customer"}', 'evt_ignored');
  perform test.event('payment_intent.succeeded', test.intent(b, 'succeeded', 9999), 'evt_failed') from t; end $$;
set local role booking_app;
select is(booking.is_webhook_processed(p_event_id => 'evt_done'), true, 'processed');
select is(booking.is_webhook_processed('evt_ignored'), true, 'ignored');
select is(booking.is_webhook_processed('evt_failed'), false, 'one that failed was not');
select is(booking.is_webhook_processed('evt_unknown'), false, 'nor one that never came');
select is(booking.is_webhook_processed(null), false, 'nor none');
reset role;
update booking.webhook_events set received_at = now() - interval '8 days';
do $$ begin perform booking.cleanup_old_webhook_events(); end $$;
select is((select count(*) from booking.webhook_events_archive where stripe_event_id = 'evt_done'), 1::bigint, 'after it went to the archive');
select is(booking.is_webhook_processed('evt_done'), true, 'it is still known');
select * from finish();
