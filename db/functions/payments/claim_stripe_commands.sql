-- Claims due commands for a worker: pending ones, and running ones whose lease ran out (their worker died). A claim
-- counts as an attempt. Commit before calling Stripe, then complete or fail each command before its lease ends.
-- params is Stripe's request body, stripe_id the PaymentIntent; idempotency_key stays the same while an outcome is unknown.
-- p_min_age leaves fresh commands to the server that made them. A command whose lease ran out at its last attempt is dead.
-- Locks: the commands, skipping locked ones -> alert.
-- Errors: PT400 invalid_request (DETAIL.field worker, limit, lease, min_age).
create or replace function booking.claim_stripe_commands(
  p_worker text,
  p_limit int default 10,
  p_lease interval default '1 minute',
  p_min_age interval default '0'
)
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
as $$
#variable_conflict use_column
declare
  v_lost record;
  v_now timestamptz := booking.clock();
begin
  perform booking.require_lease(p_worker, p_lease);
  if p_limit is null or p_limit not between 1 and 1000 then
    perform booking.refuse(400, 'invalid_request', '{"field": "limit"}', 'Claim 1 to 1,000 commands at once.');
  end if;
  if p_min_age is null or p_min_age < interval '0' then
    perform booking.refuse(400, 'invalid_request', '{"field": "min_age"}', 'A minimum age is not negative.');
  end if;
  -- workers die on it again and again: no further claim, a person looks at it
  for v_lost in
    update booking.stripe_commands c
    set status = 'dead', locked_by = null, lease_until = null
    from (
      select d.id from booking.stripe_commands d, booking.settings s
      where d.status = 'running' and d.lease_until <= v_now and d.attempts >= s.command_max_attempts
      order by d.id
      for no key update of d skip locked
    ) lost
    where c.id = lost.id
    returning c.id, c.operation, c.stripe_id
  loop
    perform booking.raise_alert('command_dead', v_lost.id::text,
      jsonb_build_object('operation', v_lost.operation, 'stripe_id', v_lost.stripe_id, 'code', 'lease_lapsed'));
  end loop;
  return query
    update booking.stripe_commands c
    set status = 'running', locked_by = p_worker, lease_until = v_now + p_lease, attempts = c.attempts + 1
    from (
      select d.id from booking.stripe_commands d
      where d.status in ('pending', 'running') and d.run_at <= v_now
        and (d.status = 'pending' or d.lease_until <= v_now)
        and d.created_at <= v_now - p_min_age
      order by d.run_at
      limit p_limit
      for no key update skip locked
    ) due
    where c.id = due.id
    returning c.id, c.operation, c.stripe_id, c.params, booking.command_key(c.id, c.key_generation), c.attempts, c.created_at;
end
$$;

revoke all on function booking.claim_stripe_commands(text, int, interval, interval) from public;
grant execute on function booking.claim_stripe_commands(text, int, interval, interval) to booking_app;
comment on function booking.claim_stripe_commands(text, int, interval, interval) is
  'Claims due Stripe commands for a worker, for the time of a lease';
