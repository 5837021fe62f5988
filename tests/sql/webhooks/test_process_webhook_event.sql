-- booking.process_webhook_event(): a Stripe event is applied once, whatever the order of arrival.
select * from no_plan();
select test.set_clock('2026-03-10 12:00Z');
create temp table t as select test.book() as b;
create function pg_temp.b() returns uuid language sql as $$ select b from t $$;
create function pg_temp.event(p_id text) returns booking.webhook_events language sql as $$
  select w from booking.webhook_events w where w.stripe_event_id = p_id $$;
create function pg_temp.raw(p_event jsonb) returns text language sql as $$ select booking.process_webhook_event(p_event) $$;
do $$ begin perform test.prepare(b) from t; end $$;
grant usage on schema test to booking_app;

-- -- bad input
set local role booking_app;
select test.refused($$ select booking.process_webhook_event(p_event => null) $$, 'PT400', 'invalid_request', '{"field": "id"}', 'no event');
select test.refused($$ select booking.process_webhook_event('[]') $$, 'PT400', 'invalid_request', '{"field": "id"}', 'an event that is no object');
select test.refused($$ select booking.process_webhook_event('{"type": "x", "data": {"object": {}}}') $$, 'PT400', 'invalid_request', '{"field": "id"}', 'no id');
select test.refused($$ select booking.process_webhook_event('{"id": "", "type": "x", "data": {"object": {}}}') $$, 'PT400', 'invalid_request', '{"field": "id"}', 'an empty id');
select test.refused($$ select booking.process_webhook_event(jsonb_build_object('id', repeat('e', 256), 'type', 'x', 'data', '{"object": {}}'::jsonb)) $$,
  'PT400', 'invalid_request', '{"field": "id"}', 'an id too long');
select test.refused($$ select booking.process_webhook_event('{"id": "evt", "data": {"object": {}}}') $$, 'PT400', 'invalid_request', '{"field": "type"}', 'no type');
select test.refused($$ select booking.process_webhook_event('{"id": "evt", "type": "", "data": {"object": {}}}') $$, 'PT400', 'invalid_request', '{"field": "type"}', 'an empty type');
select test.refused(format('select booking.process_webhook_event(%L)', e), 'PT400', 'invalid_request', '{"field": "data.object"}', 'no object: ' || e)
  from unnest(array['{"id": "evt", "type": "x"}', '{"id": "evt", "type": "x", "data": null}', '{"id": "evt", "type": "x", "data": {"object": null}}',
    '{"id": "evt", "type": "x", "data": {"object": "pi_1"}}', '{"id": "evt", "type": "x", "data": {"object": []}}']) e;
reset role;
select is_empty($$ select 1 from booking.webhook_events $$, 'nothing of it is kept');
select is_empty($$ select 1 from booking.stat_deltas where metric = 'webhooks' $$, 'nor counted');

-- -- once
select is(test.event('payment_intent.amount_capturable_updated', test.intent(b), 'evt_1'), 'processed', 'an event is processed') from t;
select is(test.state(b), 'pending/authorized', 'it has its effect') from t;
select results_eq($$ select e.stripe_event_id, e.event_type, e.status::text, e.attempts, e.error, e.received_at, e.payload ->> 'id' from pg_temp.event('evt_1') e $$,
  $$ values ('evt_1', 'payment_intent.amount_capturable_updated', 'processed', 1, null::jsonb, '2026-03-10 12:00Z'::timestamptz, 'evt_1') $$, 'and is on record');
select is(test.event('payment_intent.amount_capturable_updated', test.intent(b), 'evt_1'), 'duplicate', 'again') from t;
select is(test.event('payment_intent.canceled', test.intent(b, 'canceled'), 'evt_1'), 'duplicate', 'the id alone decides') from t;
select is(test.state(b), 'pending/authorized', 'no second effect') from t;
select is((pg_temp.event('evt_1')).attempts, 1, 'nor a second attempt');
select is((select sum(quantity) from booking.stat_deltas where metric = 'webhooks'), 1::numeric, 'it counts once in the statistics');
update booking.webhook_events set received_at = '2026-03-01 12:00Z';
do $$ begin perform booking.cleanup_old_webhook_events(); end $$;
select is(test.event('payment_intent.amount_capturable_updated', test.intent(b), 'evt_1'), 'duplicate', 'also when it lies in the archive') from t;

-- -- what is not for us
select is(test.event('customer.created', '{"id": "cus_1", "object": "customer"}', 'evt_2'), 'ignored', 'an event of no interest');
select is((pg_temp.event('evt_2')).status::text, 'ignored', 'is kept for the record');
select is(test.event('customer.created', '{"id": "cus_1", "object": "customer"}', 'evt_2'), 'duplicate', 'once');
select is(test.event('payment_intent.created', test.intent(b, 'requires_payment_method')), 'ignored', 'also of our own PaymentIntent') from t;
select is(test.event('charge.failed', test.charge(b)), 'ignored', 'a declined charge: payment_failed says it') from t;
select is(test.event('payment_intent.succeeded', '{"id": "pi_other", "object": "payment_intent"}', 'evt_3'), 'ignored', 'an unknown booking');
select is((pg_temp.event('evt_3')).status::text, 'ignored', 'is kept for the record');
select is(test.event('payment_intent.succeeded', '{"id": "pi_other", "object": "payment_intent", "metadata": {"payment_id": "order-17"}}'), 'ignored',
  'of another system at the same Stripe account');
select is_empty($$ select 1 from booking.alerts $$, 'nobody need look at that');
select is(test.event(e, '{"id": "x_1", "object": "x"}'), 'ignored', e || ' is known, and of an unknown booking')
  from unnest(array['payment_intent.amount_capturable_updated', 'payment_intent.succeeded', 'payment_intent.processing', 'payment_intent.requires_action',
    'payment_intent.payment_failed', 'payment_intent.canceled', 'charge.succeeded', 'charge.captured', 'charge.refunded', 'charge.expired', 'refund.created',
    'refund.updated', 'refund.failed', 'charge.dispute.created', 'charge.dispute.updated', 'charge.dispute.closed']) e;

-- -- the time of an event
do $$ begin delete from t; insert into t select test.book(); perform test.prepare(b) from t; end $$;
select is(test.event('payment_intent.payment_failed', test.intent(b, 'requires_payment_method'), p_created => '2026-03-10 11:00Z'), 'processed', 'a card is declined') from t;
select is((test.payment(b)).stripe_seen_at, '2026-03-10 11:00Z'::timestamptz, 'the event''s time counts') from t;
select is(test.event('payment_intent.requires_action', test.intent(b, 'requires_action'), p_created => '2026-03-10 10:59Z') || ' ' || test.state(b),
  'processed pending/failed', 'an older one is processed and changes nothing') from t;
select is(pg_temp.raw(jsonb_build_object('id', 'evt_timeless', 'type', 'payment_intent.processing', 'data', jsonb_build_object('object', test.intent(b, 'processing')))) || ' ' || test.state(b),
  'processed pending/processing', 'one without a time is of now') from t;

-- -- what fails is recorded, and has no effect
do $$ begin perform test.event('payment_intent.amount_capturable_updated', test.intent(b)) from t; end $$;
create temp table before as select test.payment(b) as row from t;
select is(test.event('payment_intent.succeeded', test.intent(b, 'succeeded') || '{"currency": "eur"}', 'evt_eur'), 'failed', 'another currency') from t;
select results_eq($$ select e.status::text, e.attempts, e.error ->> 'sqlstate', e.error ->> 'message', (e.error ->> 'detail')::jsonb ->> 'theirs', e.error ? 'context' from pg_temp.event('evt_eur') e $$,
  $$ values ('failed', 1, 'PT409', 'currency_mismatch', 'eur', true) $$, 'the error is on its row');
select results_eq($$ select detail, times from booking.alerts where kind = 'webhook_failed' and subject = 'evt_eur' $$,
  $$ values ('{"type": "payment_intent.succeeded", "message": "currency_mismatch"}'::jsonb, 1) $$, 'and a person is told');
select is(test.payment(b), (select row from before), 'nothing else is written') from t;
create function pg_temp.broken(p_type text, p_object jsonb) returns text language sql as $$
  select pg_temp.raw(jsonb_build_object('id', test.unique('evt_broken'), 'type', p_type, 'created', 1773144000, 'data', jsonb_build_object('object', p_object))) $$;
select is(pg_temp.broken('payment_intent.succeeded', test.intent(b, 'succeeded') || '{"amount_received": "much"}'), 'failed', 'an amount that is no number') from t;
select is(pg_temp.broken('payment_intent.succeeded', test.intent(b, 'succeeded') || '{"amount_received": 50.5}'), 'failed', 'an amount that is not whole') from t;
select is(pg_temp.broken('payment_intent.succeeded', test.intent(b, 'succeeded') || '{"amount_received": 99999999999999999999}'), 'failed', 'an amount beyond all bounds') from t;
select is(pg_temp.broken('payment_intent.succeeded', test.intent(b, 'succeeded', 5001)), 'failed', 'more than the price') from t;
select is(pg_temp.broken('charge.captured', test.charge(b) || '{"captured": "perhaps"}'), 'failed', 'captured that is no boolean') from t;
select is(pg_temp.broken('refund.created', test.refund(b, 10) || '{"status": "lost"}'), 'failed', 'a status that is not documented') from t;
select is(pg_temp.broken('refund.created', test.refund(b, 10) - 'amount'), 'failed', 'a refund without an amount') from t;
select is(pg_temp.broken('refund.created', test.refund(b, 10) - 'id'), 'failed', 'a refund without an id') from t;
select is(pg_temp.broken('refund.created', test.refund(b, -10)), 'failed', 'a refund of less than nothing') from t;
select is(pg_temp.raw(jsonb_build_object('id', 'evt_time', 'type', 'payment_intent.processing', 'created', 'noon', 'data', jsonb_build_object('object', test.intent(b)))), 'failed', 'a time that is none') from t;
select is(test.payment(b), (select row from before), 'none of it has an effect') from t;
select is_empty($$ select 1 from booking.refunds $$, 'not on the refunds either');
select is((select count(*) from booking.webhook_events where status = 'failed'), 11::bigint, 'all of it is on record');

-- -- sent again
select is(test.event('payment_intent.succeeded', test.intent(b, 'succeeded') || '{"currency": "eur"}', 'evt_eur'), 'failed', 'Stripe sends it again: it fails again') from t;
select is((pg_temp.event('evt_eur')).attempts, 2, 'which counts');
select is((select times from booking.alerts where kind = 'webhook_failed' and subject = 'evt_eur'), 2, 'in the alert too');
select is(test.event('payment_intent.succeeded', test.intent(b, 'succeeded'), 'evt_eur'), 'processed', 'once it can be applied') from t;
select is(test.state(b), 'pending/captured', 'it has its effect') from t;
select results_eq($$ select e.status::text, e.attempts, e.error from pg_temp.event('evt_eur') e $$, $$ values ('processed', 3, null::jsonb) $$, 'and is on record as processed');
select results_eq($$ select resolved_by, resolved_at from booking.alerts where subject = 'evt_eur' $$, $$ values ('retry', '2026-03-10 12:00Z'::timestamptz) $$, 'the alert is resolved');
select is(test.event('payment_intent.succeeded', test.intent(b, 'succeeded'), 'evt_eur'), 'duplicate', 'and then it is a duplicate') from t;
select is((select sum(quantity) from booking.stat_deltas where metric = 'webhooks'), (select count(*)::numeric from (
  select stripe_event_id from booking.webhook_events union all select stripe_event_id from booking.webhook_events_archive) x), 'every event counts once in the statistics');
select is_empty($$ select * from booking.check_invariants() $$, 'and all the books are right');

-- -- what may succeed in a moment is passed on, and nothing is recorded
create function pg_temp.passed_on(p_sqlstate text) returns text language plpgsql as $$
begin
  execute format($f$ create or replace function booking.apply_dispute(p_payment_id uuid, p_object jsonb, p_seen_at timestamptz)
    returns void language plpgsql as %L $f$, format('begin raise exception using errcode = %L, message = %L; end', p_sqlstate, 'now'));
  begin
    perform test.event('charge.dispute.created', jsonb_build_object('id', 'dp_1', 'payment_intent', test.intent_id(pg_temp.b())), 'evt_later');
    return fail(p_sqlstate || ' is swallowed');
  exception when query_canceled or others then -- a canceled query is no "others"
    return is(sqlstate || ' ' || sqlerrm, p_sqlstate || ' now', p_sqlstate || ' is passed on');
  end;
end $$;
select pg_temp.passed_on(s) from unnest(array['40P01', '40001', '55P03', '57014', '57P01', '53300', '53200', '08006']) s;
select is((pg_temp.event('evt_later')).stripe_event_id, null, 'and nothing is recorded');
select * from finish();
