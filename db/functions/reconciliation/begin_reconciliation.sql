-- Begins a comparison of our books with Stripe's, for what was created from p_from (included) to p_to (not included).
-- Then record_stripe_objects() for every PaymentIntent, charge and refund that Stripe created in that time,
-- list_doubtful_payments() for what to ask Stripe again one by one, and finish_reconciliation().
-- p_actor: who asked for it, for the audit log. Any number of runs may go on at once: each has its own objects.
-- Locks: none. Errors: PT400 invalid_request (DETAIL.field from, to, actor).
create or replace function booking.begin_reconciliation(
  p_from timestamptz,
  p_to timestamptz,
  p_actor text default null,
  out run_id uuid
)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set jit = off
as $$
declare
  v_now timestamptz := booking.clock();
begin
  if p_from is null or not isfinite(p_from) then
    perform booking.refuse(400, 'invalid_request', '{"field": "from"}', 'Give the beginning of the window.');
  end if;
  if p_to is null or not isfinite(p_to) or p_to <= p_from then
    perform booking.refuse(400, 'invalid_request', '{"field": "to"}', 'Give an end of the window that is after its beginning.');
  end if;
  if length(p_actor) not between 1 and 255 then
    perform booking.refuse(400, 'invalid_request', '{"field": "actor"}', 'Ids of people have 1 to 255 characters.');
  end if;
  run_id := booking.new_id('reconciliation');
  insert into booking.reconciliation_runs (id, window_from, window_to, actor, created_at, updated_at)
  values (run_id, p_from, p_to, p_actor, v_now, v_now);
  perform booking.audit('reconciliation.begun', run_id::text, p_actor, jsonb_build_object('from', p_from, 'to', p_to));
end
$$;

revoke all on function booking.begin_reconciliation(timestamptz, timestamptz, text) from public;
grant execute on function booking.begin_reconciliation(timestamptz, timestamptz, text) to booking_app, booking_dba;
comment on function booking.begin_reconciliation(timestamptz, timestamptz, text) is
  'Begins a comparison of our books with Stripe''s for a window of time';
