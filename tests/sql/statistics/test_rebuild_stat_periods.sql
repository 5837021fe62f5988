-- booking.rebuild_stat_periods(): days and months anew from the hours, as a database needs whose hours are older than the sums.
select * from no_plan();
set session_replication_role = replica;
insert into booking.stat_hours (metric, hour, currency, quantity, amount) values
  ('captured', '2026-02-28 23:00Z', 'usd', 1, 10), ('captured', '2026-03-01 00:00Z', 'usd', 2, 20), ('captured', '2026-03-01 05:00Z', 'usd', 3, 30);
insert into booking.stat_periods (period, begins_at, metric, quantity) values ('day', '2020-01-01Z', 'booked', 7);
reset session_replication_role;
select is((select count(*) from booking.check_invariants() where invariant = 'statistics_add_up'), 5::bigint, 'nothing adds up');
do $$ begin perform booking.rebuild_stat_periods(); end $$;
select set_eq('select period::text, begins_at, quantity, amount from booking.stat_periods', $$ values
  ('day', '2026-02-28Z'::timestamptz, 1::bigint, 10::bigint), ('day', '2026-03-01Z', 5, 50), ('month', '2026-02-01Z', 1, 10), ('month', '2026-03-01Z', 5, 50) $$,
  'each hour once, and nothing else');
select is_empty($$ select * from booking.check_invariants() where invariant = 'statistics_add_up' $$, 'all adds up');
insert into booking.stat_hours (metric, hour, quantity) values ('booked', '2026-03-01 00:00Z', 1);
select is((select count(*) from booking.stat_periods where metric = 'booked'), 2::bigint, 'and is kept from then on');
select * from finish();
