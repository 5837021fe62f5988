-- Locks a run; refuses one that is not there and, unless p_finished, one that is closed already. Returns it.
-- Internal: granted to nobody. Locks: the run.
-- Errors: PT404 reconciliation_not_found · PT409 reconciliation_finished.
create or replace function booking.lock_reconciliation(p_run_id uuid, p_finished boolean)
returns booking.reconciliation_runs
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_run booking.reconciliation_runs;
begin
  select r.* into v_run from booking.reconciliation_runs r where r.id = p_run_id for no key update;
  if not found then
    perform booking.refuse(404, 'reconciliation_not_found', jsonb_build_object('run_id', p_run_id), 'Check the run''s id.');
  end if;
  if v_run.status = 'finished' and not p_finished then
    perform booking.refuse(409, 'reconciliation_finished', jsonb_build_object('run_id', p_run_id),
      'This run is closed: begin another one.');
  end if;
  return v_run;
end
$$;

revoke all on function booking.lock_reconciliation(uuid, boolean) from public;
comment on function booking.lock_reconciliation(uuid, boolean) is 'Internal: locks a run of the reconciliation';
