-- booking.lock_booking(): the booking's row as it is under its lock; with its seat when asked. (Who waits for whom: tests/py/races.)
select plan(7);
create temp table b as select test.book() as id;
-- a locked row carries the transaction that locked it
create function pg_temp.locked() returns text[] language sql volatile as $$
  select coalesce(array_agg(l.relation order by l.relation), '{}') from (
    select 'bookings' as relation, xmax from booking.bookings union all select 'slot_seats', xmax from booking.slot_seats) l
  where l.xmax = pg_current_xact_id()::xid
$$;
select is(pg_temp.locked(), '{}', 'nothing is locked before');
select is((booking.lock_booking('00000000-0000-7000-8000-000000000000', true)).id, null, 'no such booking, no row');
select is((booking.lock_booking(null, false)).id, null, 'no id, no row');
select is((booking.lock_booking(id, false)).id, id, 'the row of the booking') from b;
select is(pg_temp.locked(), array['bookings'], 'without the seat its counter stays free');
select is(booking.lock_booking(id, true), test.booking(id), 'also with its seat') from b;
select is(pg_temp.locked(), array['bookings', 'slot_seats'], 'both are locked');
select * from finish();
