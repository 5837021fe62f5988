-- booking.seat_student(): a seat and a pending booking, or neither.
select * from no_plan();
create temp table c as select n, test.make_class(n) as class from unnest(array[2, 40]) n;
create function pg_temp.seat(p_class uuid, p_student text) returns booking.bookings language plpgsql as $$
declare
  v_wish booking.bookings;
begin
  select gen_random_uuid(), s.id, s.session_id, p_student, s.expert_id, gen_random_uuid(), s.confirmation, x.amount, x.currency, s.starts_at, s.ends_at
  into v_wish.id, v_wish.slot_id, v_wish.session_id, v_wish.student_id, v_wish.expert_id, v_wish.payment_id, v_wish.confirmation,
    v_wish.amount, v_wish.currency, v_wish.scheduled_at, v_wish.ends_at
  from booking.slots s join booking.sessions x on x.id = s.session_id where s.id = p_class;
  return booking.seat_student(v_wish);
end
$$;
create temp table made as select c.n, c.class, s.* from c, pg_temp.seat(c.class, 'ann') s;
select results_eq('select m::text from (select id, status, seat_part, amount, scheduled_at from made) m',
  'select m::text from (select b.id, b.status, b.seat_part, b.amount, b.scheduled_at from booking.bookings b join c on c.class = b.slot_id order by c.n) m',
  'the row that was written is returned');
select is(status::text || '/' || student_id || '/' || amount, 'pending/ann/3000', 'pending, the student''s, at the price that was asked: ' || n) from made;
select is(test.seats_taken(class), 1, 'one seat: ' || n) from c;
select is((pg_temp.seat(class, 'ann')).id, null, 'another live booking of the student: nothing: ' || n) from c;
select is(test.seats_taken(class), 1, 'and the seat is given back: ' || n) from c;
select is(test.seats_taken(class), n, 'full: ' || n) from c, lateral (select count(pg_temp.seat(class, 'student-' || i)) from generate_series(2, n) i) s;
select is((pg_temp.seat(class, 'late')).id, null, 'no seat: nothing: ' || n) from c;
select is(test.seats_taken(class), n, 'not one too many: ' || n) from c;
select is((select count(*) from booking.bookings b where b.slot_id = class), n::bigint, 'a booking a seat: ' || n) from c;
select is((select sum(s.amount) from booking.stat_deltas s where s.metric = 'seats'), -1::numeric, 'the slot of one counter is open no more in the statistics');
create temp table begun as select test.make_class() as class;
do $$ begin perform test.set_clock((select starts_at from booking.slots where id = class)) from begun; end $$;
select is((pg_temp.seat(class, 'ann')).id, null, 'a class that has begun: nothing') from begun;
select is(test.seats_taken(class), 0, 'and the seat is given back') from begun;
select is_empty('select * from booking.check_invariants()', 'everything adds up');
select * from finish();
