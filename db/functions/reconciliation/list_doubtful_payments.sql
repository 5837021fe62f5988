-- The PaymentIntents to ask Stripe for once more, one by one with their charge and refunds, and to record: those that
-- differ, those whose charge lies outside of the window, and those of ours that Stripe's pages did not show. What only
-- waits for the outbox is not among them. Call it again afterwards; what then remains differs, or is on its way here in an
-- event. Whatever is recorded after a call counts as seen after it.
-- Locks: the run. Errors: PT404 reconciliation_not_found · PT409 reconciliation_finished.
create or replace function booking.list_doubtful_payments(p_run_id uuid)
returns table (stripe_id text)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set jit = off
as $$
#variable_conflict use_column
begin
  perform booking.lock_reconciliation(p_run_id, false);
  update booking.reconciliation_runs r set asked_at = booking.clock() where r.id = p_run_id;
  return query
    select distinct d.stripe_id from booking.compare_with_stripe(p_run_id) d
    where d.waits_for is distinct from 'outbox'
    order by d.stripe_id;
end
$$;

revoke all on function booking.list_doubtful_payments(uuid) from public;
grant execute on function booking.list_doubtful_payments(uuid) to booking_app, booking_dba;
comment on function booking.list_doubtful_payments(uuid) is 'The PaymentIntents of a run to ask Stripe for once more, one by one';
