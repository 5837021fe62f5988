-- Registers run_maintenance() with pg_cron under the name pgbooking-maintenance; again: changes its schedule. Returns what it
-- did, or, where pg_cron is not in this database, the statement to run in the database where it is.
-- Not security definer: pg_cron runs a job as the role that registered it, which must be able to log in.
-- Locks: pg_cron's. Errors: PT400 invalid_request (DETAIL.field schedule); pg_cron's own for a schedule it does not understand.
create or replace function booking.schedule_maintenance(p_schedule text default '*/15 * * * *')
returns text
language plpgsql volatile
as $$
declare
  v_job bigint;
begin
  if p_schedule is null or pg_catalog.btrim(p_schedule) OPERATOR(pg_catalog.=) '' then
    raise exception using errcode = 'PT400', message = 'invalid_request', detail = '{"field": "schedule"}',
      hint = 'Give a cron expression such as */15 * * * *.';
  end if;
  if not exists (select from pg_catalog.pg_extension e where e.extname OPERATOR(pg_catalog.=) 'pg_cron') then
    return pg_catalog.format(
      'pg_cron is not installed in database %I, nothing was scheduled. Where it is installed (see cron.database_name), run: '
      'select cron.schedule_in_database(''pgbooking-maintenance'', %L, ''call booking.run_maintenance()'', %L); '
      'or let "pgbooking worker" or cron run the maintenance.',
      pg_catalog.current_database(), p_schedule, pg_catalog.current_database());
  end if;
  execute pg_catalog.format('select %I.schedule($1, $2, $3)', 'cron') into v_job
  using 'pgbooking-maintenance', p_schedule, 'call booking.run_maintenance()';
  return pg_catalog.format('pg_cron job %s runs "call booking.run_maintenance()" on schedule %s', v_job, p_schedule);
end
$$;

revoke all on function booking.schedule_maintenance(text) from public;
grant execute on function booking.schedule_maintenance(text) to booking_cron;
comment on function booking.schedule_maintenance(text) is 'Registers the maintenance with pg_cron, or says what to do where pg_cron is not there';
