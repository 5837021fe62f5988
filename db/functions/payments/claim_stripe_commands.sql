-- Claims due commands for a worker: pending ones, and running ones whose lease ran out (their worker died). A claim
-- counts as an attempt. Commit before calling Stripe, then complete or fail each command before its lease ends.
-- params is Stripe's request body, stripe_id the PaymentIntent; idempotency_key stays the same while an outcome is unknown.
-- p_min_age leaves fresh commands to the server that made them. A command whose lease ran out at its last attempt is dead:
-- what waited for it goes on (settle_payment), and a person is told, unless its wish has come true meanwhile.
-- Locks: of each dead one booking -> payment -> command, skipping locked ones -> outbox insert -> alert; then the commands,
-- skipping locked ones.
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
set enable_seqscan = off
set jit = off
as $$
#variable_conflict use_column
declare
  v_lost record;
  v_attempts int;
  v_booking_id uuid;
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
  select s.command_max_attempts into v_attempts from booking.settings s;
  for v_lost in
    select d.id, d.operation, d.stripe_id, d.payment_id from booking.stripe_commands d
    where d.status = 'running' and d.lease_until <= v_now and d.attempts >= v_attempts
    order by d.id
  loop
    if v_lost.payment_id is not null then
      select b.id into v_booking_id
      from booking.payments p join booking.bookings b on b.id = p.booking_id
      where p.id = v_lost.payment_id
      for no key update of b skip locked;
      continue when not found; -- somebody works on it: the next claim sees to it
      perform from booking.payments p where p.id = v_lost.payment_id and p.booking_id = v_booking_id
      for no key update skip locked;
      continue when not found;
    end if;
    update booking.stripe_commands c
    set status = 'dead', locked_by = null, lease_until = null
    where c.id = (
      select d.id from booking.stripe_commands d
      where d.id = v_lost.id and d.status = 'running' and d.lease_until <= v_now and d.attempts >= v_attempts
      for no key update skip locked);
    continue when not found;
    if v_lost.payment_id is not null then
      perform booking.close_fulfilled_commands(v_lost.payment_id);
      perform booking.settle_payment(v_booking_id);
    end if;
    if booking.get_stripe_command_status(v_lost.id) = 'dead' then
      perform booking.raise_alert('command_dead', v_lost.id::text,
        jsonb_build_object('operation', v_lost.operation, 'stripe_id', v_lost.stripe_id, 'code', 'lease_lapsed'));
    end if;
  end loop;
  return query
    update booking.stripe_commands c
    set status = 'running', locked_by = p_worker, lease_until = v_now + p_lease, attempts = c.attempts + 1
    from (
      select d.id from booking.stripe_commands d
      where d.status in ('pending', 'running') and d.run_at <= v_now
        and (d.status = 'pending' or d.lease_until <= v_now and d.attempts < v_attempts)
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
