-- booking.clock(): the wall clock, also within a transaction.
select plan(4);
create temp table moments (before timestamptz, clock timestamptz, after timestamptz);
do $$
declare
  v_before timestamptz := clock_timestamp();
  v_clock timestamptz := booking.clock();
begin
  insert into moments values (v_before, v_clock, clock_timestamp());
end
$$;
select ok(before <= clock and clock <= after, 'it is the time at the moment of the call') from moments;
select cmp_ok(booking.clock(), '>', now(), 'it goes on within a transaction');
select is((select count(*) from generate_series(1, 3) n, lateral (select n, booking.clock() as t, pg_sleep(0.000001)) c
           where c.t > now()), 3::bigint, 'it is read again for each row');
select test.set_clock('2026-03-10 12:00Z');
select is(booking.clock(), '2026-03-10 12:00Z'::timestamptz, 'a test can replace it inside its transaction');
select * from finish();
