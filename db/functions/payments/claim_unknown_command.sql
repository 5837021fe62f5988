-- Claims a command whose outcome nobody knows: it was sent at least once and waits for another attempt (however far away),
-- or the lease of whoever sent it has lapsed. For the one who asks Stripe what came of it, and then completes it
-- (complete_stripe_command) or puts it back as it was (fail_stripe_command with type looked_up). p_after: the command of
-- the claim before, so that each is looked at once. Columns as in claim_stripe_commands.
-- Locks: the command, skipping locked ones. Errors: PT400 invalid_request (DETAIL.field worker, lease).
create or replace function booking.claim_unknown_command(p_worker text, p_lease interval default '1 minute', p_after uuid default null)
returns table (
  command_id uuid,
  operation text,
  stripe_id text,
  params jsonb,
  idempotency_key text,
  attempt int,
  created_at timestamptz,
  run_at timestamptz
)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set jit = off
as $$
#variable_conflict use_column
declare
  v_now timestamptz := booking.clock();
begin
  perform booking.require_lease(p_worker, p_lease);
  return query
    update booking.stripe_commands c
    set status = 'running', locked_by = p_worker, lease_until = v_now + p_lease, attempts = c.attempts + 1
    from (
      select d.id from booking.stripe_commands d
      where (d.status = 'pending' and d.attempts > 0 or d.status = 'running' and d.lease_until <= v_now)
        and (p_after is null or d.id > p_after)
      order by d.id
      limit 1
      for no key update skip locked
    ) due
    where c.id = due.id
    returning c.id, c.operation, c.stripe_id, c.params, booking.command_key(c.id, c.key_generation), c.attempts, c.created_at, c.run_at;
end
$$;

revoke all on function booking.claim_unknown_command(text, interval, uuid) from public;
grant execute on function booking.claim_unknown_command(text, interval, uuid) to booking_app;
comment on function booking.claim_unknown_command(text, interval, uuid) is
  'Claims a Stripe command whose outcome nobody knows, to ask Stripe what came of it';
