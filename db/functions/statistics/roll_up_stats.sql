-- Folds the writers' lines (stat_deltas) into statistics by hour (stat_hours), at most 20,000 a call; one caller at a
-- time, others return 0 at once. The sum of both never changes. Returns how many lines it folded.
-- Locks: an advisory lock of the transaction -> stat_deltas rows -> stat_hours rows in key order. Errors: none.
create or replace function booking.roll_up_stats()
returns int
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_count int;
begin
  if not pg_try_advisory_xact_lock(hashtextextended('booking.roll_up_stats', 0)) then
    return 0;
  end if;
  with folded as (
    delete from booking.stat_deltas d
    where d.ctid = any (array(select x.ctid from booking.stat_deltas x limit 20000))
    returning d.metric, date_trunc('hour', d.at, 'UTC') as hour, d.currency, d.quantity, d.amount
  ), added as (
    insert into booking.stat_hours as h (metric, hour, currency, quantity, amount)
    select f.metric, f.hour, f.currency, sum(f.quantity), sum(f.amount)
    from folded f
    group by f.metric, f.hour, f.currency
    order by f.metric, f.hour, f.currency
    on conflict (metric, hour, currency)
    do update set quantity = h.quantity + excluded.quantity, amount = h.amount + excluded.amount
  )
  select count(*) into v_count from folded;
  return v_count;
end
$$;

revoke all on function booking.roll_up_stats() from public;
grant execute on function booking.roll_up_stats() to booking_app, booking_cron, booking_dba;
comment on function booking.roll_up_stats() is 'Folds the newest changes of the statistics into hours; returns how many lines';
