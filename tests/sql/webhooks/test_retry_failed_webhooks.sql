-- booking.retry_failed_webhooks(): applies events again whose effect could not be applied.
select plan(28);
select test.set_clock('2026-03-10 12:00Z');
create temp table t as select n, test.book() as b from generate_series(1, 4) n;
create function pg_temp.b(p_n int) returns uuid language sql as $$ select b from t where n = p_n $$;
do $$ begin perform test.prepare(b) from t; end $$;
create function pg_temp.attempts() returns text language sql as $$
  select string_agg(stripe_event_id || ' ' || status || ' ' || attempts, ', ' order by stripe_event_id) from booking.webhook_events where stripe_event_id like 'evt\_%' $$;
-- an event whose amount does not fit; mend() writes what Stripe would have said
create function pg_temp.break(p_n int) returns text language sql as $$
  select test.event('payment_intent.succeeded', test.intent(pg_temp.b(p_n), 'succeeded', 9999), 'evt_' || p_n) $$;
create function pg_temp.mend(p_n int) returns void language sql as $$
  update booking.webhook_events set payload = jsonb_set(payload, '{data,object,amount_received}', '5000') where stripe_event_id = 'evt_' || p_n $$;
select is(booking.retry_failed_webhooks(), 0, 'nothing to retry');
select is(pg_temp.break(1), 'failed', 'an event fails');
select test.set_clock('2026-03-10 12:01Z');
select is(pg_temp.break(2), 'failed', 'a second one');
select is(booking.retry_failed_webhooks(), 0, 'nothing has changed: both fail again');
select is(pg_temp.attempts(), 'evt_1 failed 2, evt_2 failed 2', 'which counts');
do $$ begin perform pg_temp.mend(2); end $$;
grant usage on schema test to booking_cron;
set local role booking_cron;
select is(booking.retry_failed_webhooks(p_limit => 100), 1, 'the cause is mended: one succeeds, the poisoned one before it holds it not back');
reset role;
select is(pg_temp.attempts(), 'evt_1 failed 3, evt_2 processed 3', 'each goes its own way');
select is(test.state(pg_temp.b(2)) || ' ' || test.state(pg_temp.b(1)), 'pending/captured pending/pending', 'with its effect');
select is((select resolved_by from booking.alerts where subject = 'evt_2'), 'retry', 'its alert is resolved');
select is((select count(*) from booking.alerts where subject = 'evt_1' and resolved_at is null), 1::bigint, 'the other one is not');
select is(booking.retry_failed_webhooks(), 0, 'what succeeded is not applied again');
-- the least tried first
select is(pg_temp.break(3), 'failed', 'a younger one fails');
do $$ begin perform pg_temp.mend(3); end $$;
select is(booking.retry_failed_webhooks(1), 1, 'of one place it gets it: it was tried least');
select is(pg_temp.attempts(), 'evt_1 failed 4, evt_2 processed 3, evt_3 processed 2', 'the poisoned one waits');
-- ignored is success as well
do $$ begin perform pg_temp.break(4);
  update booking.webhook_events set payload = jsonb_set(payload, '{data,object}', '{"id": "pi_nobody"}') where stripe_event_id = 'evt_4'; end $$;
select is(booking.retry_failed_webhooks(1), 1, 'one that turns out to be nobody''s');
select is((select status::text from booking.webhook_events where stripe_event_id = 'evt_4'), 'ignored', 'is ignored');
-- in the end it is left to a person
update booking.settings set webhook_max_attempts = 6;
do $$ begin perform booking.retry_failed_webhooks() from generate_series(1, 10); end $$;
select is((select attempts from booking.webhook_events where stripe_event_id = 'evt_1'), 6, 'after so many attempts it is left alone');
do $$ begin perform pg_temp.mend(1); end $$;
select is(booking.retry_failed_webhooks(), 0, 'also when it is mended');
select is((select booking.process_webhook_event(payload) from booking.webhook_events where stripe_event_id = 'evt_1'), 'processed', 'Stripe may still send it');
select test.refused($$ select booking.retry_failed_webhooks(0) $$, 'PT400', 'invalid_request', '{"field": "limit"}', 'a limit of nothing');
select test.refused($$ select booking.retry_failed_webhooks(10001) $$, 'PT400', 'invalid_request', '{"field": "limit"}', 'too many');
select test.refused($$ select booking.retry_failed_webhooks(null) $$, 'PT400', 'invalid_request', '{"field": "limit"}', 'no limit');
-- an order's event
create temp table o as select test.open_order() as id, test.open_order() as other;
do $$ begin
  perform test.event('checkout.session.completed', test.checkout_session(other) || '{"payment_intent": "pi_taken"}') from o;
  perform test.event('checkout.session.completed', test.checkout_session(id) || '{"payment_intent": "pi_taken"}', 'evt_order') from o;
  update booking.webhook_events set payload = jsonb_set(payload, '{data,object,payment_intent}', '"pi_free"') where stripe_event_id = 'evt_order'; end $$;
select is((select status::text from booking.webhook_events where stripe_event_id = 'evt_order'), 'failed', 'another order''s PaymentIntent');
select is(booking.retry_failed_webhooks(), 1, 'once that is mended it succeeds');
select is((test.order_row(id)).status::text, 'paid', 'with its effect') from o;
-- money for a hold that lapsed
create temp table l as select test.hold_seat(test.make_class(40), 'ann') as b;
do $$ begin perform test.lapse(b) from l; perform test.event('payment_intent.succeeded', test.intent(b, 'succeeded', 9999), 'evt_lapsed') from l;
  update booking.webhook_events set payload = jsonb_set(payload, '{data,object,amount_received}', '3000') where stripe_event_id = 'evt_lapsed'; end $$;
select is(booking.retry_failed_webhooks(), 1, 'the money for a lapsed hold is applied late');
select is((test.booking(test.seat_of((test.booking(b)).slot_id, 'ann'))).status::text, 'confirmed', 'and its student is seated again') from l;
select is_empty($$ select * from booking.check_invariants() $$, 'and all the books are right');
select * from finish();
