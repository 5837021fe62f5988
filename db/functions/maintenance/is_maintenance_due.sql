-- Whether run_maintenance() has not begun within the last p_interval, by pg_cron, a worker or anybody: a worker runs it
-- only then. (pg_cron shows its jobs to nobody but their owner, so asking pg_cron itself would not do.)
-- Locks: none. Errors: PT400 invalid_request (DETAIL.field interval).
create or replace function booking.is_maintenance_due(p_interval interval)
returns boolean
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  if p_interval is null or p_interval < interval '0' then
    perform booking.refuse(400, 'invalid_request', '{"field": "interval"}', 'An interval is not negative.');
  end if;
  return not exists (select from booking.maintenance_runs r where r.last_run_at > booking.clock() - p_interval);
end
$$;

revoke all on function booking.is_maintenance_due(interval) from public;
grant execute on function booking.is_maintenance_due(interval) to booking_app, booking_cron;
comment on function booking.is_maintenance_due(interval) is 'Whether the maintenance has not begun within the last interval, by whomever';
