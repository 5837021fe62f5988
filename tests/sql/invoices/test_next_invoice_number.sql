-- booking.next_invoice_number(): 1, 2, 3 in each series and UTC year; a rollback leaves no gap.
select no_plan();
create function pg_temp.take(p_series text) returns text language sql as $$
  select n.year || ' ' || n.serial || ' ' || (n.taken_at = booking.clock()) from booking.next_invoice_number(p_series) n $$;
select test.set_clock('2026-12-31 23:59:59.999Z');
select is(pg_temp.take('INV'), '2026 1 true', 'a series begins at 1');
select is(pg_temp.take('INV'), '2026 2 true', 'and goes on');
select is(pg_temp.take('CN'), '2026 1 true', 'another series has numbers of its own');
do $$ begin
  begin
    perform booking.next_invoice_number('INV');
    raise exception using errcode = 'TEST1';
  exception when sqlstate 'TEST1' then null;
  end;
end $$;
select is(pg_temp.take('INV'), '2026 3 true', 'what was rolled back is given again');
set timezone = 'America/New_York';
select is(pg_temp.take('INV'), '2026 4 true', 'still the old year');
select test.set_clock('2027-01-01 00:00Z');
select is(pg_temp.take('INV'), '2027 1 true', 'the year is that of UTC, not of the session, and begins anew');
-- the year ends between looking which one it is and holding the counter
create sequence public.asked;
grant usage on sequence public.asked to booking_owner;
do $$ begin
  execute 'create or replace function booking.clock() returns timestamptz language sql volatile as
    ''select case when nextval(''''public.asked'''') <= 3 then timestamptz ''''2027-12-31 23:59:59Z'''' else timestamptz ''''2028-01-01 00:00:01Z'''' end''';
end $$;
select is((select n.year || ' ' || n.serial || ' ' || n.taken_at from booking.next_invoice_number('INV') n), '2027 2 ' || '2027-12-31 23:59:59Z'::timestamptz, 'held before the year ended');
select setval('public.asked', 3, false);
select is((select n.year || ' ' || n.serial || ' ' || n.taken_at from booking.next_invoice_number('INV') n), '2028 1 ' || '2028-01-01 00:00:01Z'::timestamptz,
  'a number is never of a year that ended before it was held');
select results_eq('select series, year, last_number from booking.invoice_series order by 1, 2',
  $$ values ('CN', 2026, 1), ('INV', 2026, 4), ('INV', 2027, 2), ('INV', 2028, 1) $$, 'a row a series and year');
select * from finish();
