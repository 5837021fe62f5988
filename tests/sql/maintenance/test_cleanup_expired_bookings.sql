-- booking.cleanup_expired_bookings(): what was not decided in time ends; seats are freed, holds released, money given back.
select * from no_plan();
select test.set_clock('2026-03-10 12:00Z');

-- when it is due
create temp table b as select test.book() as id;
select test.set_clock('2026-03-10 12:29:59.999999Z');
select is(booking.cleanup_expired_bookings(), 0, 'a microsecond before its 30 minutes nothing is due');
select is(test.state(id), 'pending/-', 'it is pending') from b;
select test.set_clock('2026-03-10 12:30Z');
select is(booking.cleanup_expired_bookings(), 1, 'at creation + timeout it is due');
select results_eq('select (b).status::text, (b).cancelled_by, (b).cancellation_reason, (b).refund_percent::int, (b).closed_at from (select test.booking(id) as b from b) x',
  $$ values ('cancelled', 'system', 'expired', 100, '2026-03-10 12:30Z'::timestamptz) $$, 'cancelled by the system, expired');
select is(test.seats_taken((test.booking(id)).slot_id), 0, 'its seat is free') from b;
select results_eq('select booking_id, from_status::text, to_status::text, actor, reason, created_at from booking.booking_events',
  $$ select id, 'pending', 'cancelled', 'system', 'expired', '2026-03-10 12:30Z'::timestamptz from b $$, 'the audit trail says so');
select results_eq($$ select metric::text, at, quantity, amount from booking.stat_deltas where metric = 'expired' or metric = 'seats' and quantity < 0 order by 1 $$,
  $$ values ('expired', '2026-03-10 12:00Z'::timestamptz, 1::bigint, 0::bigint), ('seats', '2026-03-17 12:00Z'::timestamptz, -1::bigint, 1::bigint) $$,
  'so do the statistics: expired, a seat less, an open slot more');
select is(booking.cleanup_expired_bookings(), 0, 'again there is nothing to do');

-- in every state of its payment
select test.set_clock('2026-03-10 13:00Z');
create temp table s (n int, what text, confirmation text, expected text, commands text[], finally text, id uuid);
insert into s select n, what, confirmation, expected, commands, finally, test.book(test.make_slot(p_confirmation => confirmation)) from (values
  (1, 'no payment', 'expert', 'cancelled/-', '{}'::text[], 'cancelled/-'),
  (2, 'prepared', 'expert', 'cancelled/cancelled', '{}', 'cancelled/cancelled'),
  (3, 'recorded', 'expert', 'cancelled/pending', '{cancel_payment_intent pending}', 'cancelled/cancelled'),
  (4, 'failed', 'expert', 'cancelled/failed', '{cancel_payment_intent pending}', 'cancelled/cancelled'),
  (5, 'processing', 'expert', 'cancelled/processing', '{cancel_payment_intent pending}', 'cancelled/cancelled'),
  (6, 'authorized', 'expert', 'cancelled/authorized', '{cancel_payment_intent pending}', 'cancelled/cancelled'),
  (7, 'captured', 'expert', 'cancelled/captured', '{create_refund pending}', 'cancelled/refunded'),
  (8, 'authorized', 'instant', 'cancelled/authorized', '{cancel_payment_intent pending}', 'cancelled/cancelled'),
  (9, 'confirmed', 'expert', 'confirmed/authorized', '{capture_payment_intent pending}', 'confirmed/captured'),
  (10, 'declined', 'expert', 'declined/authorized', '{cancel_payment_intent pending}', 'declined/cancelled'))
  v (n, what, confirmation, expected, commands, finally);
do $$ begin
  perform booking.prepare_payment_intent(test.student(id), id) from s where what <> 'no payment';
  perform test.prepare(id) from s where what not in ('no payment', 'prepared');
  perform test.event('payment_intent.payment_failed', test.intent(id, 'requires_payment_method')) from s where what = 'failed';
  perform test.event('payment_intent.processing', test.intent(id, 'processing')) from s where what = 'processing';
  perform test.event('payment_intent.amount_capturable_updated', test.intent(id)) from s where what in ('authorized', 'confirmed', 'declined');
  perform test.event('payment_intent.succeeded', test.intent(id, 'succeeded')) from s where what = 'captured';
  perform test.confirm(id) from s where what = 'confirmed';
  perform booking.confirm_booking_transaction(test.expert(id), id, 'decline') from s where what = 'declined';
end $$;
select test.set_clock('2026-03-10 13:30Z');
select is(booking.cleanup_expired_bookings(), 8, 'eight pending ones expire; decided ones stay');
select is(test.state(id), expected, format('%s. %s, %s: booking/payment', n, what, confirmation)) from s;
select is(test.commands(id), commands, format('%s. %s, %s: what Stripe is told', n, what, confirmation)) from s;
do $$ begin perform test.run_commands(id) from s; end $$;
select is(test.state(id), finally, format('%s. %s, %s: in the end', n, what, confirmation)) from s;

-- a captured booking of an instant slot, whose event came but could not confirm it
create temp table i as select test.book(test.make_slot(p_confirmation => 'instant')) as id;
do $$ begin perform test.prepare(id), test.event('payment_intent.succeeded', test.intent(id, 'succeeded')) from i; end $$;
select is(test.state(id), 'confirmed/captured', 'usually the event itself confirms it') from i;
set session_replication_role = replica;
delete from booking.booking_events where booking_id = (select id from i);
update booking.bookings set status = 'pending', confirmed_at = null where id = (select id from i);
delete from booking.stat_deltas where ctid = (select ctid from booking.stat_deltas where metric = 'confirmed' and amount = 0 limit 1);
set session_replication_role = origin;
select test.set_clock('2026-03-10 14:00Z');
select is(booking.cleanup_expired_bookings(), 0, 'it is not cancelled');
select is(test.state(id), 'confirmed/captured', 'but confirmed') from i;
select results_eq('select e.actor, e.reason from booking.booking_events e join i on i.id = e.booking_id', $$ values ('system', 'paid') $$, 'since it is paid');

-- batches: the oldest first, no more than asked
select test.set_clock('2026-03-10 15:00Z');
create temp table class as select test.make_slot(p_capacity => 20) as slot;
create temp table batch (n int, id uuid);
create function pg_temp.book_later(n int) returns uuid language plpgsql as $$
begin
  perform test.set_clock('2026-03-10 15:00Z'::timestamptz + n * interval '1 second');
  return test.book((select slot from class));
end
$$;
insert into batch select n, pg_temp.book_later(n) from generate_series(1, 7) n;
select test.set_clock('2026-03-10 16:00Z');
select is(booking.cleanup_expired_bookings(3), 3, 'three of a batch');
select set_eq($$ select n from batch where test.state(id) = 'cancelled/-' $$, array[1, 2, 3], 'the oldest ones');
select is(test.seats_taken(slot), 4, 'three seats of the class are free') from class;
select is(booking.cleanup_expired_bookings(3), 3, 'then the next three');
select is(booking.cleanup_expired_bookings(3), 1, 'then the last one');
select is(booking.cleanup_expired_bookings(3), 0, 'then none');
select is(test.seats_taken(slot), 0, 'all seats of the class are free') from class;

-- p_timeout
create temp table t as select test.book() as id;
select is(booking.cleanup_expired_bookings(100, '1 microsecond'), 0, 'a timeout of a microsecond');
select is(booking.cleanup_expired_bookings(100, '0'), 1, 'no timeout: at once');
select test.refused(format('select booking.cleanup_expired_bookings(%s, %L)', n, timeout), 'PT400', 'invalid_request', jsonb_build_object('field', field),
  format('%s rows, timeout %s', n, timeout))
from (values ('0', '30 minutes', 'batch_size'), ('null', '30 minutes', 'batch_size'), ('10001', '30 minutes', 'batch_size'),
  ('1', null, 'timeout'), ('1', '-1 second', 'timeout')) v (n, timeout, field);
select is_empty('select * from booking.check_invariants()', 'the books are in order');
select * from finish();
