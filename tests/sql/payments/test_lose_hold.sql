-- booking.lose_hold(): the hold is gone without being canceled: the payment failed, a live booking ends.
select plan(9);
select test.set_clock('2026-03-10 12:00Z');
create temp table t as select test.make_slot() as slot;
alter table t add b uuid;
update t set b = test.book(slot);
do $$ begin perform test.authorize(b) from t; perform test.confirm(b) from t; perform booking.lose_hold(b, '2026-03-10 13:00Z') from t; end $$;
select is(test.state(b), 'cancelled/failed', 'a confirmed booking is cancelled, its payment failed') from t;
select results_eq($$ select cancelled_by, cancellation_reason, refund_percent::int, closed_at from booking.bookings join t on t.b = id $$,
  $$ values ('system', 'hold_lost', 100, '2026-03-10 13:00Z'::timestamptz) $$, 'by the system');
select is(test.seats_taken(slot), 0, 'its seat is free') from t;
select results_eq($$ select from_status::text, to_status::text, actor, reason from booking.booking_events order by id desc limit 1 $$,
  $$ values ('confirmed', 'cancelled', 'stripe', 'hold_lost') $$, 'the audit trail says why');
update t set b = test.book(slot);
do $$ begin perform test.authorize(b) from t; perform booking.lose_hold(b, booking.clock()) from t; end $$;
select is(test.state(b), 'cancelled/failed', 'a pending booking as well') from t;
update t set b = test.book(slot);
do $$ begin perform test.capture(b) from t; perform booking.lose_hold(b, booking.clock()) from t; end $$;
select is(test.state(b), 'confirmed/captured', 'money that was captured stays') from t;
update t set b = test.book(test.make_slot());
do $$ begin perform test.prepare(b) from t; perform booking.lose_hold(b, booking.clock()) from t; end $$;
select is(test.state(b), 'pending/pending', 'without a hold there is none to lose') from t;
do $$ begin perform test.event('payment_intent.amount_capturable_updated', test.intent(b)) from t;
  perform booking.confirm_booking_transaction(test.expert(b), b, 'decline') from t; perform booking.lose_hold(b, booking.clock()) from t; end $$;
select is(test.state(b), 'declined/failed', 'a dead booking stays as it died') from t;
select lives_ok($$ select booking.lose_hold('01890000-0000-7000-8000-000000000001', booking.clock()) $$, 'nothing is refused');
select * from finish();
