-- Trigger: adds up what changes in stat_hours by UTC day and month (stat_periods), a statement at a time. Whoever writes
-- hours, the sums follow in the same commit.
-- Locks: stat_periods rows in key order (one fold at a time: roll_up_stats). Errors: none.
create or replace function booking.keep_stat_periods()
returns trigger
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  if tg_op = 'INSERT' then
    insert into booking.stat_periods as p (period, begins_at, metric, currency, quantity, amount)
    select k.period, date_trunc(k.period::text, n.hour, 'UTC'), n.metric, n.currency, sum(n.quantity), sum(n.amount)
    from new_rows n cross join unnest(enum_range(null::booking.stat_period)) k (period)
    group by 1, 2, 3, 4 order by 1, 2, 3, 4
    on conflict (period, begins_at, metric, currency)
    do update set quantity = p.quantity + excluded.quantity, amount = p.amount + excluded.amount;
  else
    insert into booking.stat_periods as p (period, begins_at, metric, currency, quantity, amount)
    select k.period, date_trunc(k.period::text, c.hour, 'UTC'), c.metric, c.currency, sum(c.quantity), sum(c.amount)
    from (
      select n.hour, n.metric, n.currency, n.quantity, n.amount from new_rows n
      union all
      select o.hour, o.metric, o.currency, -o.quantity, -o.amount from old_rows o
    ) c cross join unnest(enum_range(null::booking.stat_period)) k (period)
    group by 1, 2, 3, 4 order by 1, 2, 3, 4
    on conflict (period, begins_at, metric, currency)
    do update set quantity = p.quantity + excluded.quantity, amount = p.amount + excluded.amount;
  end if;
  return null;
end
$$;

revoke all on function booking.keep_stat_periods() from public;
comment on function booking.keep_stat_periods() is 'Trigger: keeps the sums of the statistics by day and month';

create or replace trigger keep_stat_periods_insert after insert on booking.stat_hours
  referencing new table as new_rows
  for each statement execute function booking.keep_stat_periods();
create or replace trigger keep_stat_periods_update after update on booking.stat_hours
  referencing old table as old_rows new table as new_rows
  for each statement execute function booking.keep_stat_periods();
