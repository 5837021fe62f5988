-- Notes that run_maintenance() begins, so that no second scheduler repeats it (see is_maintenance_due).
-- Locks: the one row of maintenance_runs. Errors: none.
create or replace function booking.note_maintenance_run()
returns void
language sql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
  insert into booking.maintenance_runs as r (last_run_at) values (booking.clock())
  on conflict (only_row) do update set last_run_at = excluded.last_run_at
$$;

revoke all on function booking.note_maintenance_run() from public;
grant execute on function booking.note_maintenance_run() to booking_cron;
comment on function booking.note_maintenance_run() is 'Notes that the maintenance begins';
