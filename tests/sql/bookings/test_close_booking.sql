-- booking.close_booking(): status, seat, audit and statistics of an ending, in one place.
select * from no_plan();
select test.set_clock('2026-03-10 12:00Z');
create temp table c (n int, start_status text, status text, cancelled_by text, code text, reason text, percent int, metric text, id uuid);
insert into c select n, start_status, status, cancelled_by, code, reason, percent, metric, test.book() from (values
  (1, 'pending', 'declined', null, 'declined_by_expert', 'words', 100, 'declined'),
  (2, 'pending', 'cancelled', 'student', 'cancelled_by_student', 'words', 100, 'cancelled'),
  (3, 'pending', 'cancelled', 'system', 'expired', 'expired', 100, 'expired'),
  (4, 'pending', 'cancelled', 'system', 'payment_cancelled', 'payment_cancelled', 100, 'cancelled'),
  (5, 'confirmed', 'cancelled', 'expert', 'cancelled_by_expert', null, 100, 'cancelled_after_confirmation'),
  (6, 'confirmed', 'cancelled', 'system', 'hold_lost', 'hold_lost', 0, 'cancelled_after_confirmation'))
  v (n, start_status, status, cancelled_by, code, reason, percent, metric);
do $$ begin perform test.authorize(id), test.confirm(id) from c where start_status = 'confirmed'; end $$;
delete from booking.stat_deltas;
select test.set_clock('2026-03-10 14:30Z');
do $$ begin perform booking.close_booking(id, (test.booking(id)).status, status::booking.booking_status, cancelled_by, 'actor-' || n, code, reason, percent, booking.clock()) from c; end $$;
select results_eq(
  $$ select n, (b).status::text, (b).cancelled_by, (b).cancellation_reason, (b).refund_percent::int, (b).closed_at from (select n, test.booking(id) as b from c) x order by n $$,
  $$ select n, status, cancelled_by, reason, percent, '2026-03-10 14:30Z'::timestamptz from c order by n $$, 'the booking says how it ended');
select is(test.seats_taken((test.booking(id)).slot_id), 0, 'its seat is free: ' || code) from c;
select results_eq(
  $$ select n, e.from_status::text, e.to_status::text, e.actor, e.reason, e.created_at from c join booking.booking_events e on e.booking_id = c.id
     where e.created_at = '2026-03-10 14:30Z' order by n $$,
  $$ select n, start_status, status, 'actor-' || n, code, '2026-03-10 14:30Z'::timestamptz from c order by n $$, 'one line of audit, with the code');
select results_eq($$ select metric::text, at, sum(quantity), sum(amount) from booking.stat_deltas where metric <> 'seats' group by 1, 2 order by 1 $$,
  $$ select metric, '2026-03-10 12:00Z'::timestamptz, count(*)::numeric, 0::numeric from c group by 1 order by 1 $$,
  'counted by its kind, in the hour the booking was made');
select results_eq($$ select at, sum(quantity), sum(amount) from booking.stat_deltas where metric = 'seats' group by 1 $$,
  $$ values ('2026-03-17 12:00Z'::timestamptz, -6::numeric, 6::numeric) $$, 'six seats less, six slots open again');

-- open slots are counted when they fill and when they open, and only for one seat counter
create temp table s as select test.make_slot(p_capacity => 2) as pair, test.make_slot(p_capacity => 17) as class;
create temp table t as select pair, class, test.book(pair) as one, test.book(pair) as two, test.book(class) as seat from s;
delete from booking.stat_deltas;
do $$ begin perform booking.close_booking(one, (test.booking(one)).status, 'cancelled', 'student', 'x', 'cancelled_by_student', null, 100, booking.clock()) from t; end $$;
select results_eq($$ select quantity, amount from booking.stat_deltas where metric = 'seats' $$, 'values (-1::bigint, 1::bigint)', 'a full slot opens again');
delete from booking.stat_deltas;
do $$ begin perform booking.close_booking(two, (test.booking(two)).status, 'cancelled', 'student', 'x', 'cancelled_by_student', null, 100, booking.clock()) from t; end $$;
select results_eq($$ select quantity, amount from booking.stat_deltas where metric = 'seats' $$, 'values (-1::bigint, 0::bigint)', 'it was open already');
delete from booking.stat_deltas;
update booking.slot_seats q set taken = capacity from t where q.slot_id = t.class;
do $$ begin perform booking.close_booking(seat, (test.booking(seat)).status, 'cancelled', 'student', 'x', 'cancelled_by_student', null, 100, booking.clock()) from t; end $$;
select results_eq($$ select quantity, amount from booking.stat_deltas where metric = 'seats' $$, 'values (-1::bigint, 0::bigint)', 'classes are counted by looking at them');
select is((select sum(capacity - taken) from booking.slot_seats q, t where q.slot_id = t.class), 1::bigint, 'the class has that one seat free');
select * from finish();
