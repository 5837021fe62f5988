-- booking.record_stripe_objects(): what Stripe shows, normalized, the newest word on each object.
select * from no_plan();
select test.set_clock('2026-03-10 12:00Z');
create temp table r as select booking.begin_reconciliation('2026-03-10 00:00Z', '2026-03-11 00:00Z') as id;
create function pg_temp.record(p_objects jsonb) returns int language sql as $$ select booking.record_stripe_objects((select id from r), p_objects) $$;
create function pg_temp.items() returns setof text language sql as $$
  select concat_ws(' ', i.object, i.stripe_id, i.payment_intent_id, i.amount, i.captured, i.refunded, i.currency, i.status)
  from booking.reconciliation_items i where i.run_id = (select id from r) order by 1 $$;
create function pg_temp.charge(p_id text, p_more jsonb) returns jsonb language sql as $$
  select '{"object": "charge", "payment_intent": "pi_1", "amount": 5000, "amount_captured": 0, "amount_refunded": 0, "currency": "EUR", "status": "succeeded",
    "captured": false, "refunded": false, "billing_details": {"name": "Jenny Rosen"}}'::jsonb || jsonb_build_object('id', p_id) || p_more $$;
grant select on r to booking_app;
set local role booking_app;
select is(pg_temp.record(jsonb_build_array(
  '{"id": "pi_1", "object": "payment_intent", "amount": 5000, "amount_received": 3000, "currency": "eur", "status": "succeeded",
    "metadata": {"payment_id": "019cd7c6-be7b-7a5c-8123-456789abcdef", "order_id": "17"}}'::jsonb,
  pg_temp.charge('ch_held', '{}'),
  pg_temp.charge('ch_let_go', '{"refunded": true, "amount_refunded": 5000}'),
  pg_temp.charge('ch_declined', '{"status": "failed"}'),
  pg_temp.charge('ch_waits', '{"status": "pending", "captured": true}'),
  pg_temp.charge('ch_taken', '{"captured": true, "amount_captured": 5000, "amount_refunded": 1200}'),
  pg_temp.charge('ch_in_part', '{"captured": true, "amount_captured": 3000, "amount_refunded": 2500}'),
  '{"id": "re_1", "object": "refund", "amount": 500, "currency": "eur", "status": "succeeded", "payment_intent": {"id": "pi_1", "object": "payment_intent"}}'::jsonb,
  '{"id": "re_2", "object": "refund", "amount": 700, "currency": "eur", "status": "pending", "payment_intent": "pi_1"}'::jsonb,
  '{"id": "re_3", "object": "refund", "amount": 700, "currency": "eur", "status": "failed", "payment_intent": "pi_1"}'::jsonb,
  '{"id": "re_4", "object": "refund", "amount": 700, "currency": "eur", "status": "canceled", "payment_intent": "pi_1"}'::jsonb,
  '{"id": "du_1", "object": "dispute"}'::jsonb)), 11, 'it says how many it kept; what is neither PaymentIntent nor charge nor refund is passed over');
reset role;
select results_eq('select pg_temp.items()', array[
  'charge ch_declined pi_1 5000 0 0 eur failed', 'charge ch_held pi_1 5000 0 0 eur held', 'charge ch_in_part pi_1 5000 3000 500 eur captured',
  'charge ch_let_go pi_1 5000 0 0 eur released', 'charge ch_taken pi_1 5000 5000 1200 eur captured', 'charge ch_waits pi_1 5000 0 0 eur pending',
  'payment_intent pi_1 pi_1 5000 3000 0 eur succeeded', 'refund re_1 pi_1 500 0 500 eur succeeded', 'refund re_2 pi_1 700 0 700 eur pending',
  'refund re_3 pi_1 700 0 0 eur failed', 'refund re_4 pi_1 700 0 0 eur canceled'],
  'amounts are what counts: only money that was taken, no released rest of a hold, no refund that failed');
select results_eq($$ select named_payment_id, named_order_id from booking.reconciliation_items where stripe_id = 'pi_1' $$,
  $$ values ('019cd7c6-be7b-7a5c-8123-456789abcdef'::uuid, null::uuid) $$, 'ids in the metadata count when they have the form of ours');
select is_empty($$ select * from booking.reconciliation_items i where i::text ~ 'Jenny' $$, 'nothing personal is kept');

create temp table before as select pg_temp.items() as line;
select is(pg_temp.record(jsonb_build_array(pg_temp.charge('ch_held', '{}'), pg_temp.charge('ch_held', '{}'))), 2, 'the same page again, and an object twice in one page');
select results_eq('select pg_temp.items()', 'select line from before', 'are harmless');
select is(pg_temp.record(jsonb_build_array(pg_temp.charge('ch_held', '{"amount": 1}'), pg_temp.charge('ch_held', '{"captured": true, "amount_captured": 5000}'))), 2, 'a newer word');
select is((select line from pg_temp.items() line where line like '%ch_held%'), 'charge ch_held pi_1 5000 5000 0 eur captured', 'replaces the older one');
select is(pg_temp.record(jsonb_build_array(jsonb_build_object('id', 'pi_2', 'object', 'payment_intent', 'amount', 5, 'currency', 'eur', 'status', 'succeeded',
  'amount_received', 5, 'latest_charge', pg_temp.charge('ch_2', '{"payment_intent": "pi_2", "amount": 5, "captured": true, "amount_captured": 5}')))), 1, 'a charge that comes inside of its PaymentIntent');
select is((select line from pg_temp.items() line where line like '%ch_2%'), 'charge ch_2 pi_2 5 5 0 eur captured', 'is kept, too');
select is(pg_temp.record('[]'), 0, 'an empty page is a page');

create temp table seen as select seen_at from booking.reconciliation_items where stripe_id = 'ch_taken';
select is(seen_at, '2026-03-10 12:00Z'::timestamptz, 'it is known when an object was seen') from seen;
select test.set_clock('2026-03-10 12:01Z');
do $$ begin perform booking.list_doubtful_payments(id) from r; end $$;
select test.set_clock('2026-03-10 12:02Z');
do $$ begin perform pg_temp.record(jsonb_build_array(pg_temp.charge('ch_taken', '{}'))); end $$;
select is(seen_at, '2026-03-10 12:01Z'::timestamptz, 'what is asked for one by one was seen at the earliest when it was found doubtful')
from booking.reconciliation_items where stripe_id = 'ch_taken';

select test.refused(format('select pg_temp.record(%L)', objects), 'PT400', 'invalid_request', '{"field": "objects"}', what)
from (values (null, 'no objects'), ('{}', 'an object instead of an array'), ('[1]', 'a number among them'), ('[{"object": "charge", "amount": 1}]', 'one without an id'),
  ('[{"id": "", "object": "charge", "amount": 1}]', 'one with an empty id'), ('[{"id": 7, "object": "charge", "amount": 1}]', 'one whose id is a number'),
  ('[{"id": "ch_1", "object": "charge"}]', 'one without an amount'), ('[{"id": "ch_1", "object": "charge", "amount": "5"}]', 'one with an amount in quotes'),
  ('[{"id": "ch_1", "object": "charge", "amount": -5}]', 'one with an amount below zero'),
  ((select jsonb_agg(jsonb_build_object('id', n::text, 'object', 'dispute'))::text from generate_series(1, 10001) n), 'more than 10,000')) v (objects, what);
select test.refused($$ select booking.record_stripe_objects('01890000-0000-7000-8000-000000000001', '[]') $$, 'PT404', 'reconciliation_not_found', '{}', 'no such run');
do $$ begin perform booking.finish_reconciliation(id) from r; end $$;
select test.refused('select pg_temp.record(''[]'')', 'PT409', 'reconciliation_finished', '{}', 'a finished run is closed');
select * from finish();
