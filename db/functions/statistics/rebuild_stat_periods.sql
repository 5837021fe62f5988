-- Adds up all hours of the statistics anew by day and month. Deploying this file does it once, for hours that are older
-- than the sums; afterwards the trigger keep_stat_periods keeps them.
-- Internal: granted to nobody. Locks: stat_hours against writers (folding waits), then stat_periods. Errors: none.
create or replace function booking.rebuild_stat_periods()
returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  lock table booking.stat_hours in share row exclusive mode;
  delete from booking.stat_periods;
  insert into booking.stat_periods (period, begins_at, metric, currency, quantity, amount)
  select k.period, date_trunc(k.period::text, h.hour, 'UTC'), h.metric, h.currency, sum(h.quantity), sum(h.amount)
  from booking.stat_hours h cross join unnest(enum_range(null::booking.stat_period)) k (period)
  group by 1, 2, 3, 4;
end
$$;

revoke all on function booking.rebuild_stat_periods() from public;
comment on function booking.rebuild_stat_periods() is 'Internal: adds up the statistics by day and month anew';

do $$ begin perform booking.rebuild_stat_periods(); end $$;
