-- booking.keep_stat_periods(): days and months are the sums of their hours, whoever writes hours and however.
select * from no_plan();
insert into booking.stat_hours (metric, hour, currency, quantity, amount) values
  ('captured', '2026-02-28 23:00Z', 'usd', 1, 10), ('captured', '2026-03-01 00:00Z', 'usd', 2, 20), ('captured', '2026-03-01 05:00Z', 'usd', 3, 30),
  ('captured', '2026-03-01 05:00Z', 'eur', 4, 40), ('booked', '2026-03-01 05:00Z', '', 5, 0), ('captured', '2026-03-31 23:00Z', 'usd', 6, 60);
create function pg_temp.periods() returns table (period text, begins_at timestamptz, metric text, currency text, quantity bigint, amount bigint)
language sql as $$ select p.period::text, p.begins_at, p.metric::text, p.currency, p.quantity, p.amount from booking.stat_periods p $$;
select set_eq('select * from pg_temp.periods()', $$ values
  ('day', '2026-02-28Z'::timestamptz, 'captured', 'usd', 1::bigint, 10::bigint), ('day', '2026-03-01Z', 'captured', 'usd', 5, 50),
  ('day', '2026-03-01Z', 'captured', 'eur', 4, 40), ('day', '2026-03-01Z', 'booked', '', 5, 0), ('day', '2026-03-31Z', 'captured', 'usd', 6, 60),
  ('month', '2026-02-01Z', 'captured', 'usd', 1, 10), ('month', '2026-03-01Z', 'captured', 'usd', 11, 110), ('month', '2026-03-01Z', 'captured', 'eur', 4, 40),
  ('month', '2026-03-01Z', 'booked', '', 5, 0) $$, 'a line a day and a month, by UTC, metric and currency');
set timezone = 'Asia/Kolkata';
insert into booking.stat_hours as h (metric, hour, currency, quantity, amount) values
  ('captured', '2026-03-01 05:00Z', 'usd', 7, 70), ('captured', '2026-03-01 06:00Z', 'usd', 1, 1)
on conflict (metric, hour, currency) do update set quantity = h.quantity + excluded.quantity, amount = h.amount + excluded.amount;
reset timezone;
select results_eq($$ select period, quantity, amount from pg_temp.periods() where begins_at = '2026-03-01Z' and currency = 'usd' order by 1 $$,
  $$ values ('day', 13::bigint, 121::bigint), ('month', 19, 181) $$, 'new hours and changed ones of one statement, in any time zone');
update booking.stat_hours set quantity = 0, amount = -5 where hour = '2026-03-31 23:00Z';
select results_eq($$ select period, quantity, amount from pg_temp.periods() where begins_at in ('2026-03-01Z', '2026-03-31Z') and currency = 'usd' order by begins_at desc, 1 $$,
  $$ values ('day', 0::bigint, -5::bigint), ('day', 13, 121), ('month', 13, 116) $$, 'what an hour loses its day and month lose');
select is_empty($$ select * from booking.check_invariants() where invariant = 'statistics_add_up' $$, 'they add up');
insert into booking.stat_deltas (metric, at, quantity) select 'webhooks', '2026-01-01Z'::timestamptz + n * interval '7 hours', 1 from generate_series(1, 500) n;
do $$ begin perform booking.roll_up_stats(); end $$;
select results_eq($$ select sum(quantity) from pg_temp.periods() where metric = 'webhooks' group by period order by period $$, 'values (500::numeric), (500)', 'folding keeps them');
select is_empty($$ select * from booking.check_invariants() where invariant = 'statistics_add_up' $$, 'and they still add up');
select * from finish();
