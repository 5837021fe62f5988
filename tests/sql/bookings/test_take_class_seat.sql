-- booking.take_class_seat(): any free seat of a class, and none too many. (Races: tests/py/races.)
select plan(8);
create temp table s as select test.make_slot(p_capacity => 40) as slot;
create temp table t as select n, booking.take_class_seat(slot, 3) as part from s, generate_series(1, 40) n;
select is((select count(part) from t), 40::bigint, 'forty seats are taken');
select results_eq('select part, count(*)::int from t group by 1 order by 1', 'select part, capacity from booking.slot_seats, s where slot_id = slot order by 1',
  'from every counter as many as it has');
select is((select sum(taken) from booking.slot_seats, s where slot_id = slot), 40::bigint, 'they are counted');
select is(booking.take_class_seat(slot, 3), null, 'the next one gets none') from s;
select is((select sum(taken) from booking.slot_seats, s where slot_id = slot), 40::bigint, 'and takes none');
update booking.slot_seats set taken = taken - 1 where part = 1;
select is(booking.take_class_seat(slot, 3), 1::smallint, 'the one free seat is found wherever it is') from s;
select is(booking.take_class_seat('00000000-0000-7000-8000-000000000000', 3), null, 'a slot that is not there has no seat');
create temp table w as select test.make_slot(p_capacity => 512) as slot;
create temp table x as select booking.take_class_seat(slot, 32) as part from w, generate_series(1, 64);
select cmp_ok((select count(distinct part) from x), '>', 10::bigint, 'buyers enter at random counters');
select * from finish();
