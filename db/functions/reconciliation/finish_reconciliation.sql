-- Ends a run and returns where our books and Stripe's differ, by kind (see compare_with_stripe; amounts in minor units).
-- What an open command of the outbox explains, or what changed here while Stripe was asked, is kept with the run as
-- pending and not returned. A finished run is closed; finishing it again returns the same rows. Differences raise an
-- alert, one for all runs. Locks: the run -> alert.
-- Errors: PT404 reconciliation_not_found.
create or replace function booking.finish_reconciliation(p_run_id uuid)
returns table (payment_id uuid, stripe_id text, kind text, ours text, theirs text)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set jit = off
as $$
#variable_conflict use_column
declare
  v_run booking.reconciliation_runs;
  v_kinds jsonb;
begin
  v_run := booking.lock_reconciliation(p_run_id, true);
  if v_run.status <> 'finished' then
    insert into booking.reconciliation_differences (run_id, number, payment_id, order_id, stripe_id, kind, ours, theirs, waits_for)
    select p_run_id, row_number() over (order by d.kind, d.stripe_id), d.payment_id, d.order_id, d.stripe_id, d.kind, d.ours, d.theirs,
      d.waits_for
    from booking.compare_with_stripe(p_run_id) d
    where d.kind <> 'incomplete';
    update booking.reconciliation_runs r
    set status = 'finished', finished_at = booking.clock(),
        differences = (select count(*) from booking.reconciliation_differences d where d.run_id = r.id and d.waits_for is null),
        pending = (select count(*) from booking.reconciliation_differences d where d.run_id = r.id and d.waits_for is not null)
    where r.id = p_run_id
    returning r.* into v_run;
    select coalesce(jsonb_object_agg(k.kind, k.number), '{}') into v_kinds
    from (select d.kind, count(*) as number from booking.reconciliation_differences d
          where d.run_id = p_run_id and d.waits_for is null group by d.kind) k;
    if v_run.differences > 0 then
      perform booking.raise_alert('reconciliation_difference', 'stripe', jsonb_build_object('run_id', p_run_id, 'differences', v_kinds));
    end if;
    perform booking.audit('reconciliation.finished', p_run_id::text, v_run.actor,
      jsonb_build_object('from', v_run.window_from, 'to', v_run.window_to, 'differences', v_kinds, 'pending', v_run.pending));
  end if;
  return query
    select d.payment_id, d.stripe_id, d.kind, d.ours, d.theirs
    from booking.reconciliation_differences d
    where d.run_id = p_run_id and d.waits_for is null
    order by d.number;
end
$$;

revoke all on function booking.finish_reconciliation(uuid) from public;
grant execute on function booking.finish_reconciliation(uuid) to booking_app, booking_dba;
comment on function booking.finish_reconciliation(uuid) is 'Ends a run of the reconciliation; returns where our books and Stripe''s differ';
