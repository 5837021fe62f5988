-- booking.complete_past_bookings(): what has taken place is completed.
select * from no_plan();
select test.set_clock('2026-03-10 12:00Z');
create temp table b as select n, test.captured_booking(n * interval '1 hour') as id from generate_series(1, 5) n;
create temp table other as select test.book(test.make_slot('1 hour')) as pending, test.captured_booking('1 hour') as cancelled;
do $$ begin perform test.authorize(pending) from other; perform booking.cancel_booking_transaction(test.student(cancelled), cancelled) from other; end $$;
select test.set_clock('2026-03-10 13:59:59.999999Z');
select is(booking.complete_past_bookings(), 0, 'a microsecond before its end it is not over');
select test.set_clock('2026-03-10 14:00Z');
select is(booking.complete_past_bookings(), 1, 'at its end it is');
select is(test.state(id), case n when 1 then 'completed/captured' else 'confirmed/captured' end, 'booking ' || n) from b;
select is((test.booking(id)).closed_at, '2026-03-10 14:00Z'::timestamptz, 'it says since when') from b where n = 1;
select is(test.state(pending), 'pending/authorized', 'one that was never confirmed is not completed') from other;
select is(test.state(cancelled), 'cancelled/captured', 'nor a cancelled one') from other;
select results_eq($$ select from_status::text, to_status::text, actor, reason, created_at from booking.booking_events where to_status = 'completed' $$,
  $$ values ('confirmed', 'completed', 'system', 'slot_ended', '2026-03-10 14:00Z'::timestamptz) $$, 'the audit trail says so');
select results_eq($$ select at, quantity from booking.stat_deltas where metric = 'completed' $$, $$ values ('2026-03-10 12:00Z'::timestamptz, 1::bigint) $$,
  'the statistics count it in the hour of its creation');
select is(test.seats_taken((test.booking(id)).slot_id), 1, 'its seat stays taken for good') from b where n = 1;
select test.set_clock('2026-03-11 12:00Z');
select is(booking.complete_past_bookings(3), 3, 'a batch of three');
select set_eq($$ select n from b where test.state(id) like 'completed/%' $$, array[1, 2, 3, 4], 'the first to end come first');
select is(booking.complete_past_bookings(3), 1, 'then the last');
select is(booking.complete_past_bookings(), 0, 'then none');
select test.refused(format('select booking.complete_past_bookings(%s)', n), 'PT400', 'invalid_request', '{"field": "batch_size"}', n || ' rows')
from unnest(array['0', 'null', '10001']) n;
select is_empty('select * from booking.check_invariants()', 'the books are in order');
select * from finish();
