-- booking.cleanup_orphaned_slots(): seat counters that no booking accounts for are put right, and a person is told.
select * from no_plan();
select test.set_clock('2026-03-10 12:00Z');
create temp table s as select test.make_slot() as one, test.make_slot(p_capacity => 3) as three, test.make_slot(p_capacity => 40) as class,
  test.make_slot('-30 minutes') as begun, test.make_slot('-2 hours') as ended, test.make_slot() as right_one;
do $$ begin perform test.book(three), test.book(class), test.book(class), test.book(right_one) from s; end $$;
select is(booking.cleanup_orphaned_slots(), 0, 'where all is well nothing is repaired');
select is((select count(*) from booking.alerts), 0::bigint, 'and nobody is told');

update booking.slot_seats q set taken = 1 from s where q.slot_id in (one, begun, ended);
update booking.slot_seats q set taken = 0 from s where q.slot_id = three;
update booking.slot_seats q set taken = capacity from s where q.slot_id = class;
select is(booking.cleanup_orphaned_slots(), 4, 'four slots are repaired, a class counts once');
select is(test.seats_taken(one), 0, 'a seat that nobody holds is free again') from s;
select is(test.seats_taken(three), 1, 'a seat that somebody holds is counted again') from s;
select is(test.seats_taken(class), 2, 'every counter of the class is right') from s;
select is(test.seats_taken(begun), 0, 'a slot that has begun but not ended too') from s;
select is(test.seats_taken(ended), 1, 'what has ended is left alone') from s;
select is(test.seats_taken(right_one), 1, 'what was right too') from s;
select results_eq($$ select kind, subject, detail from booking.alerts where subject = (select one::text from s) $$,
  $$ select 'seats_repaired', one::text, '{"part": 0, "counted": 1, "held": 0}'::jsonb from s $$, 'the alert says what was found');
select is((select count(distinct subject) from booking.alerts), 4::bigint, 'an alert for each slot');
update booking.slot_seats q set taken = 0 from s where q.slot_id = ended;
select is_empty($$ select * from booking.check_invariants() $$, 'the books are in order, the statistics too');
select is(booking.cleanup_orphaned_slots(), 0, 'again there is nothing to do');

-- what it is for: a booking that somebody ended by hand, past the functions
create temp table h as select test.make_slot() as slot;
do $$ begin perform test.book(slot) from h; end $$;
create temp table before as select s.seats_taken, s.open_slots from booking.get_booking_stats() s;
update booking.bookings b set status = 'cancelled', cancelled_by = 'system', refund_percent = 100, closed_at = booking.clock() from h where b.slot_id = slot;
select is(booking.cleanup_orphaned_slots(), 1, 'its slot is repaired');
select is(test.seats_taken(slot), 0, 'its seat is free') from h;
select results_eq($$ select s.seats_taken, s.open_slots from booking.get_booking_stats() s $$, $$ select seats_taken - 1, open_slots + 1 from before $$,
  'the statistics know: a seat less taken, a slot more open');
select * from finish();
