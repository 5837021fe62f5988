-- booking.revive_payment(): the payment that a restored database does not know, though its booking is here.
select plan(9);
create temp table t as select test.book() as b, test.book() as other;
create temp table i as select b, other, test.intent(b) || '{"id": "pi_restored"}' as intent from t;
create function pg_temp.metadata(p_booking text, p_payment text) returns jsonb language sql as $$
  select intent || jsonb_build_object('metadata', jsonb_build_object('booking_id', p_booking, 'payment_id', p_payment)) from i $$;
select is((select count(*) from booking.payments), 0::bigint, 'nobody has prepared a payment here');
select is(booking.revive_payment(pg_temp.metadata(b::text, (test.booking(other)).payment_id::text)), null,
  'another payment than the booking was given is not ours') from t;
select is(booking.revive_payment(pg_temp.metadata('order 7', 'x')), null, 'nor is what another system calls so') from t;
select is(booking.revive_payment('{"object": "refund", "id": "re_1"}'), null, 'nor what names nobody');
select is(test.event('payment_intent.amount_capturable_updated', intent), 'processed', 'its event is applied') from i;
select results_eq($$ select p.id, p.booking_id, p.amount, p.status::text, p.stripe_payment_intent_id from booking.payments p $$,
  $$ select n.payment_id, n.id, n.amount, 'authorized', 'pi_restored' from t, test.booking(t.b) n $$, 'to the payment that the booking was given');
select is(booking.revive_payment(intent), (test.payment(b)).id, 'again changes nothing') from i;
select is((select count(*) from booking.payments), 1::bigint, 'there is one');
select is((select count(*) from booking.check_invariants()), 0::bigint, 'the invariants hold');
select * from finish();
