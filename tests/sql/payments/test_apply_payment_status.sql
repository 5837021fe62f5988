-- booking.apply_payment_status(): a status is a maximum over everything seen.
select plan(39);
create temp table t (b uuid);
create function pg_temp.b() returns uuid language sql as $$ select b from t $$;
create function pg_temp.fresh() returns void language plpgsql as $$
begin
  delete from t;
  insert into t select test.book();
  perform test.prepare(pg_temp.b());
end $$;
-- the object as it is, at a second of the clock
create function pg_temp.say(p_target text, p_captured bigint, p_at int, p_object jsonb default null) returns text language plpgsql as $$
begin
  perform booking.apply_payment_status(test.payment(pg_temp.b()), p_target, p_captured, to_timestamp(p_at),
    coalesce(p_object, test.intent(pg_temp.b(), 'requires_action')));
  return (test.payment(pg_temp.b())).status;
end $$;

do $$ begin perform pg_temp.fresh(); end $$;
select is(pg_temp.say('failed', 0, 10), 'failed', 'before the hold: the first word');
select is(pg_temp.say('processing', 0, 9), 'failed', 'an older one changes nothing');
select is(pg_temp.say('processing', 0, 10), 'failed', 'within one second the higher rank stays');
select is(pg_temp.say('requires_action', 0, 11), 'requires_action', 'a newer one wins');
select is(pg_temp.say('processing', 0, 11), 'processing', 'within one second the higher rank wins');
select is(pg_temp.say('failed', 0, 11), 'failed', 'whatever came first');
select is(pg_temp.say(null, 0, 12), 'failed', 'an object that says nothing of it changes nothing');
select is(pg_temp.say('processing', 0, 12), 'processing', 'and its time does not count');
select is(pg_temp.say('authorized', 0, 1), 'authorized', 'authorized is reached, however old the word');
select is(pg_temp.say('failed', 0, 99), 'authorized', 'and not left');
select is(pg_temp.say('requires_action', 0, 99), 'authorized', 'for requires_action neither');
select is(pg_temp.say('processing', 0, 99), 'authorized', 'for processing neither');
select is(pg_temp.say('captured', 3000, 1), 'captured', 'captured');
select is((test.payment(pg_temp.b())).amount_captured, 3000::bigint, 'with its amount');
select is(pg_temp.say('authorized', 0, 99), 'captured', 'is never left for authorized');
select is(pg_temp.say('cancelled', 0, 99), 'captured', 'nor for cancelled');
select is(pg_temp.say('failed', 0, 99), 'captured', 'nor for failed');
do $$ begin perform pg_temp.say('captured', 2000, 1); end $$;
select is((test.payment(pg_temp.b())).amount_captured, 3000::bigint, 'a smaller amount takes nothing back');
do $$ begin perform pg_temp.say('captured', 5000, 1); end $$;
select is((test.payment(pg_temp.b())).amount_captured, 5000::bigint, 'a larger one counts');
select throws_ok($$ select pg_temp.say('captured', 5001, 1) $$, '23514',
  'new row for relation "payments" violates check constraint "payments_check"', 'more than the price contradicts our books');
do $$ begin perform test.event('refund.created', test.refund(pg_temp.b(), 100)); end $$;
select is(pg_temp.say('captured', 5000, 99), 'partially_refunded', 'what was refunded in part is not captured again');
do $$ begin perform test.event('refund.created', test.refund(pg_temp.b(), 4900)); end $$;
select is(pg_temp.say('captured', 5000, 99), 'refunded', 'nor what was refunded');

do $$ begin perform pg_temp.fresh(); end $$;
select is(pg_temp.say('cancelled', 0, 20), 'cancelled', 'cancelled');
select is((test.payment(pg_temp.b())).stripe_cancelled_at, to_timestamp(20), 'by Stripe, at that time');
select is(pg_temp.say('authorized', 0, 99), 'cancelled', 'is final for authorized');
select is(pg_temp.say('failed', 0, 99), 'cancelled', 'and for failed');
do $$ begin perform pg_temp.fresh(); perform pg_temp.say('authorized', 0, 1); end $$;
select is(pg_temp.say('cancelled', 0, 1), 'cancelled', 'a hold is released');

-- our own word first
do $$ begin delete from t; insert into t select test.book();
  perform booking.prepare_payment_intent(test.student(pg_temp.b()), pg_temp.b());
  perform booking.cancel_booking_transaction(test.student(pg_temp.b()), pg_temp.b()); end $$;
select is((test.payment(pg_temp.b())).stripe_cancelled_at, null, 'cancelled without Stripe: Stripe has said nothing yet');
do $$ begin perform pg_temp.say('cancelled', 0, 30, test.intent(pg_temp.b(), 'canceled')); end $$;
select is((test.payment(pg_temp.b())).stripe_cancelled_at, to_timestamp(30), 'until it does');

-- charge, hold and refund totals
do $$ begin perform pg_temp.fresh();
  perform pg_temp.say('failed', 0, 1, test.intent(pg_temp.b(), 'requires_payment_method') || '{"latest_charge": "ch_declined"}'); end $$;
select is((test.payment(pg_temp.b())).stripe_charge_id, null, 'the charge of a declined card is not kept');
do $$ begin perform pg_temp.say(null, 0, 1, test.charge(pg_temp.b()) || '{"id": "ch_declined", "status": "failed"}'); end $$;
select is((test.payment(pg_temp.b())).stripe_charge_id, null, 'from the charge itself neither');
do $$ begin perform pg_temp.say('authorized', 0, 2, test.intent(pg_temp.b()) || '{"latest_charge": "ch_good"}'); end $$;
select is((test.payment(pg_temp.b())).stripe_charge_id, 'ch_good', 'the charge that holds the money is');
do $$ begin perform pg_temp.say('authorized', 0, 2, test.charge(pg_temp.b(), p_capture_before => '2026-03-17 12:00Z')); end $$;
select results_eq($$ select stripe_charge_id, capture_before from booking.payments where booking_id = pg_temp.b() $$,
  $$ values ('ch_good', '2026-03-17 12:00Z'::timestamptz) $$, 'it says when the hold lapses');
do $$ begin perform pg_temp.say('authorized', 0, 2, test.charge(pg_temp.b())); end $$;
select is((test.payment(pg_temp.b())).capture_before, '2026-03-17 12:00Z'::timestamptz, 'an object without it takes it not away');
do $$ begin perform pg_temp.fresh(); perform pg_temp.say('authorized', 0, 2,
  test.intent(pg_temp.b()) || jsonb_build_object('latest_charge', test.charge(pg_temp.b(), p_capture_before => '2026-03-18 12:00Z'))); end $$;
select is((test.payment(pg_temp.b())).capture_before, '2026-03-18 12:00Z'::timestamptz, 'an expanded charge is read as well');
do $$ begin perform pg_temp.say(null, 0, 3, test.charge(pg_temp.b(), false, 5000)); end $$;
select is((test.payment(pg_temp.b())).charge_refunded, 0::bigint, 'a released hold is no refund');
do $$ begin perform pg_temp.say('captured', 3000, 3, test.charge(pg_temp.b(), true, 2000, 3000)); end $$;
select is((test.payment(pg_temp.b())).charge_refunded, 0::bigint, 'what a partial capture left of the hold is no refund');
do $$ begin perform pg_temp.say('captured', 3000, 3, test.charge(pg_temp.b(), true, 2700, 3000)); end $$;
select is((test.payment(pg_temp.b())).charge_refunded, 700::bigint, 'what was refunded beyond it is');
do $$ begin perform pg_temp.say('captured', 3000, 3, test.charge(pg_temp.b(), true, 2000, 3000)); end $$;
select is((test.payment(pg_temp.b())).charge_refunded, 700::bigint, 'the largest total counts');
select * from finish();
