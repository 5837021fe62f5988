-- Whether pg_cron is in this database and has an active job for run_maintenance(). Where it is not, "pgbooking worker" runs it.
-- Locks: none. Errors: none.
create or replace function booking.has_scheduled_maintenance()
returns boolean
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_found boolean := false;
begin
  -- one after the other: to_regclass() fails in a schema that may not be used
  if to_regnamespace('cron') is not null and has_schema_privilege(to_regnamespace('cron'), 'usage') then
    if to_regclass('cron.job') is not null and has_table_privilege(to_regclass('cron.job'), 'select') then
      execute format('select exists (select from %I.job j where j.jobname = $1 and j.active)', 'cron') into v_found
      using 'pgbooking-maintenance';
    end if;
  end if;
  return v_found;
end
$$;

revoke all on function booking.has_scheduled_maintenance() from public;
grant execute on function booking.has_scheduled_maintenance() to booking_app, booking_cron, booking_dba;
comment on function booking.has_scheduled_maintenance() is 'Whether pg_cron runs the maintenance of this database';
