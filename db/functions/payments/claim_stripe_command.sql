-- Claims one command, for the server that has just decided it: in the same statement, or after its commit. No row: somebody
-- else has it, it is finished, or it waits for its next attempt. See claim_stripe_commands for the columns and the duties.
-- Locks: the command, skipping it when it is locked. Errors: PT400 invalid_request (DETAIL.field worker, lease).
create or replace function booking.claim_stripe_command(p_command_id uuid, p_worker text, p_lease interval default '1 minute')
returns table (
  command_id uuid,
  operation text,
  stripe_id text,
  params jsonb,
  idempotency_key text,
  attempt int,
  created_at timestamptz
)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set jit = off
as $$
#variable_conflict use_column
declare
  v_now timestamptz := booking.clock();
  v_is_due boolean;
begin
  -- as require_lease() has it, which is only called to say what is wrong
  if p_worker is null or p_lease is null or length(p_worker) not between 1 and 255 or p_lease <= interval '0' then
    perform booking.require_lease(p_worker, p_lease);
  end if;
  -- by its id alone: of two indexes that fit, a planner may take the one by time, which is full of finished commands
  select c.run_at <= v_now and (c.status = 'pending' or c.status = 'running' and c.lease_until <= v_now) into v_is_due
  from booking.stripe_commands c where c.id = p_command_id
  for no key update skip locked;
  if v_is_due then
    return query
      update booking.stripe_commands c
      set status = 'running', locked_by = p_worker, lease_until = v_now + p_lease, attempts = c.attempts + 1
      where c.id = p_command_id
      returning c.id, c.operation, c.stripe_id, c.params, booking.command_key(c.id, c.key_generation), c.attempts, c.created_at;
  end if;
end
$$;

revoke all on function booking.claim_stripe_command(uuid, text, interval) from public;
grant execute on function booking.claim_stripe_command(uuid, text, interval) to booking_app;
comment on function booking.claim_stripe_command(uuid, text, interval) is 'Claims one Stripe command for whoever has just decided it';
