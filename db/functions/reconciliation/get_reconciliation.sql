-- One run: its window, what it saw at Stripe, how many differences it found and how many things were on their way (null
-- until it is finished). A run that stays running was broken off. Locks: none. Errors: PT404 reconciliation_not_found.
create or replace function booking.get_reconciliation(p_run_id uuid)
returns table (
  run_id uuid,
  status booking.reconciliation_status,
  window_from timestamptz,
  window_to timestamptz,
  actor text,
  payment_intents bigint,
  charges bigint,
  refunds bigint,
  differences int,
  pending int,
  started_at timestamptz,
  finished_at timestamptz
)
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
begin
  return query
    select r.id, r.status, r.window_from, r.window_to, r.actor,
      count(*) filter (where i.object = 'payment_intent'), count(*) filter (where i.object = 'charge'),
      count(*) filter (where i.object = 'refund'), r.differences, r.pending, r.created_at, r.finished_at
    from booking.reconciliation_runs r
    left join booking.reconciliation_items i on i.run_id = r.id
    where r.id = p_run_id
    group by r.id;
  if not found then
    perform booking.refuse(404, 'reconciliation_not_found', jsonb_build_object('run_id', p_run_id), 'Check the run''s id.');
  end if;
end
$$;

revoke all on function booking.get_reconciliation(uuid) from public;
grant execute on function booking.get_reconciliation(uuid) to booking_app, booking_dba;
comment on function booking.get_reconciliation(uuid) is 'One run of the reconciliation: its window, what it saw and how it ended';
