-- booking.record_payment_intent(): records the PaymentIntent that Stripe made for a payment.
select plan(26);
create temp table t (n text, b uuid, p uuid);
create function pg_temp.b(p_n text) returns uuid language sql as $$ select b from t where n = p_n $$;
create function pg_temp.p(p_n text) returns uuid language sql as $$ select p from t where n = p_n $$;
create function pg_temp.prepared(p_n text) returns void language sql as $$
  insert into t select p_n, b, (select payment_id from booking.prepare_payment_intent(test.student(b), b)) from (select test.book() as b) x $$;
create function pg_temp.record(p_n text, p_id text) returns text language sql as $$
  select format('%s/%s %s %s', booking_status, payment_status, stripe_payment_intent_id, is_live) from booking.record_payment_intent(pg_temp.p(p_n), p_id) $$;
create function pg_temp.queued() returns text[] language sql as $$
  select coalesce(array_agg(operation || ' ' || stripe_id || ' ' || status order by ctid), '{}') from booking.stripe_commands $$;
do $$ begin perform pg_temp.prepared(n) from unnest(array['a', 'b', 'dead', 'class']) n; end $$;
grant all on t to booking_app; grant usage on schema test to booking_app;
set local role booking_app;
select results_eq($$ select r.* from t, booking.record_payment_intent(p_payment_id => t.p, p_stripe_payment_intent_id => 'pi_a') r where n = 'a' $$,
  $$ select p, 'pending'::booking.booking_status, 'pending'::booking.payment_status, 'pi_a', true from t where n = 'a' $$, 'recorded, it may be paid');
select test.refused($$ select booking.record_payment_intent(pg_temp.p('a'), null) $$, 'PT400', 'invalid_request', '{"field": "stripe_payment_intent_id"}', 'no id');
select test.refused($$ select booking.record_payment_intent(pg_temp.p('a'), '') $$, 'PT400', 'invalid_request', '{"field": "stripe_payment_intent_id"}', 'an empty id');
select test.refused($$ select booking.record_payment_intent(pg_temp.p('a'), repeat('x', 256)) $$, 'PT400', 'invalid_request', '{"field": "stripe_payment_intent_id"}', 'an id too long');
select test.refused($$ select booking.record_payment_intent('01890000-0000-7000-8000-000000000001', 'pi') $$, 'PT404', 'payment_not_found',
  '{"payment_id": "01890000-0000-7000-8000-000000000001"}', 'no such payment');
select test.refused($$ select booking.record_payment_intent(null, 'pi') $$, 'PT404', 'payment_not_found', '{"payment_id": null}', 'no payment');
reset role;
create temp table before as select test.payment(b) as row from t where n = 'a';
select is(pg_temp.record('a', 'pi_a'), 'pending/pending pi_a t', 'the same id again');
select is(test.payment(pg_temp.b('a')), (select row from before), 'changes nothing, not even its time');
select is(pg_temp.queued(), '{}', 'and asks Stripe nothing');
select test.refused($$ select booking.record_payment_intent(pg_temp.p('b'), 'pi_a') $$, 'PT409', 'payment_intent_taken', '{"stripe_payment_intent_id": "pi_a"}',
  'a PaymentIntent of another payment');
select is((test.payment(pg_temp.b('b'))).stripe_payment_intent_id, null, 'is not recorded');
-- a second one
select is(pg_temp.record('a', 'pi_a2'), 'pending/pending pi_a f', 'a second id is not recorded, and must not be paid');
select is(pg_temp.queued(), array['cancel_payment_intent pi_a2 pending'], 'its cancelling is queued');
select is(pg_temp.record('a', 'pi_a2'), 'pending/pending pi_a f', 'again');
select is(pg_temp.queued(), array['cancel_payment_intent pi_a2 pending'], 'once');
select is((select count(*) from booking.alerts where kind = 'stray_payment_intent' and subject = 'pi_a2'), 1::bigint, 'a person is told');
select is(pg_temp.record('a', 'pi_a'), 'pending/pending pi_a t', 'the first one may still be paid');
do $$ begin perform test.event('payment_intent.amount_capturable_updated', test.intent(pg_temp.b('a'))); perform test.confirm(pg_temp.b('a')); end $$;
select is(pg_temp.record('a', 'pi_a'), 'confirmed/authorized pi_a t', 'for a confirmed booking it is live');
select is(pg_temp.record('a', 'pi_a3'), 'confirmed/authorized pi_a f', 'a second one is not');
select is(test.commands(pg_temp.b('a')), array['cancel_payment_intent pending', 'capture_payment_intent pending', 'cancel_payment_intent pending'],
  'the capture of the first goes on beside it');
-- a booking that is no longer alive
do $$ begin perform booking.cancel_booking_transaction(test.student(pg_temp.b('dead')), pg_temp.b('dead')); end $$;
select is(test.state(pg_temp.b('dead')), 'cancelled/cancelled', 'a booking that ended before its PaymentIntent was known');
select is(pg_temp.record('dead', 'pi_dead'), 'cancelled/cancelled pi_dead f', 'it is stored without an error, and must not be paid');
select is(test.commands(pg_temp.b('dead')), array['cancel_payment_intent pending'], 'its cancelling is queued');
select is(pg_temp.record('dead', 'pi_dead'), 'cancelled/cancelled pi_dead f', 'again');
select is(test.commands(pg_temp.b('dead')), array['cancel_payment_intent pending'], 'once');
select is_empty($$ select * from booking.check_invariants() $$, 'and all the books are right');
select * from finish();
