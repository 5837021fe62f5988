-- booking.roll_up_stats(): folds lines into hours; the sum of both never changes. (One caller at a time: tests/py/maintenance.)
select * from no_plan();
select is(booking.roll_up_stats(), 0, 'nothing to fold');
insert into booking.stat_deltas (metric, at, currency, quantity, amount) values
  ('booked', '2026-03-10 12:00Z', '', 1, 0), ('booked', '2026-03-10 12:00Z', '', 1, 0), ('booked', '2026-03-10 13:00Z', '', 1, 0),
  ('captured', '2026-03-10 12:00Z', 'usd', 1, 500), ('captured', '2026-03-10 12:00Z', 'eur', 1, 70), ('seats', '2026-03-10 12:00Z', '', -1, 1);
select is(booking.roll_up_stats(), 6, 'it says how many lines it folded');
select is((select count(*) from booking.stat_deltas), 0::bigint, 'they are gone');
create temp table hours as select metric::text, hour, currency, quantity, amount from booking.stat_hours;
select set_eq('select * from hours', $$ values ('booked', '2026-03-10 12:00Z'::timestamptz, '', 2::bigint, 0::bigint), ('booked', '2026-03-10 13:00Z', '', 1, 0),
  ('captured', '2026-03-10 12:00Z', 'usd', 1, 500), ('captured', '2026-03-10 12:00Z', 'eur', 1, 70), ('seats', '2026-03-10 12:00Z', '', -1, 1) $$,
  'one line an hour, metric and currency');
insert into booking.stat_deltas (metric, at, currency, quantity, amount) values ('captured', '2026-03-10 12:00Z', 'usd', 1, 30), ('booked', '2026-03-10 12:00Z', '', -2, 0);
select is(booking.roll_up_stats(), 2, 'later lines');
select results_eq($$ select quantity, amount from booking.stat_hours where hour = '2026-03-10 12:00Z' and (metric, currency) in (('captured', 'usd'), ('booked', '')) order by amount $$,
  'values (0::bigint, 0::bigint), (2, 530)', 'are added to the hour');
insert into booking.stat_deltas (metric, at, quantity) select 'webhooks', '2026-03-10 12:00Z', 1 from generate_series(1, 20001);
select is(booking.roll_up_stats(), 20000, 'at most 20,000 a call');
select is((select quantity from booking.stat_hours where metric = 'webhooks') + (select sum(quantity) from booking.stat_deltas), 20001::numeric, 'the sum stays');
select is(booking.roll_up_stats(), 1, 'then the rest');
select is(booking.roll_up_stats(), 0, 'then nothing');
select * from finish();
