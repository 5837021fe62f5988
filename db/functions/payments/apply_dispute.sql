-- Keeps one row a dispute: the newest word wins, a closing word (won, lost, warning_closed, prevented) is final.
-- A person is told of each; refunds of the payment are held back while it is open or lost (settle_payment, which decides
-- anew right after this). A refund that Stripe refused because of it, before we had heard of it, waits in the same way: its
-- command is closed as refused. When no dispute holds refunds back any more, nobody needs to be told that one does.
-- Internal: granted to nobody. Locks: the dispute -> commands -> alerts (the caller holds booking and payment). Errors: none.
create or replace function booking.apply_dispute(p_payment_id uuid, p_object jsonb, p_seen_at timestamptz)
returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_final constant text[] := array['won', 'lost', 'warning_closed', 'prevented'];
begin
  insert into booking.disputes as d (stripe_dispute_id, payment_id, amount, currency, status, reason, stripe_seen_at,
    created_at, updated_at)
  select p_object ->> 'id', p.id, coalesce((p_object ->> 'amount')::bigint, 0),
    coalesce(lower(p_object ->> 'currency'), p.currency),
    coalesce(p_object ->> 'status', 'needs_response'), p_object ->> 'reason', p_seen_at, booking.clock(), booking.clock()
  from booking.payments p where p.id = p_payment_id
  on conflict (stripe_dispute_id) do update
  set status = excluded.status, amount = excluded.amount, reason = coalesce(excluded.reason, d.reason),
      stripe_seen_at = excluded.stripe_seen_at
    where not d.status = any (v_final)
      and (d.stripe_seen_at < excluded.stripe_seen_at or excluded.status = any (v_final)
           or d.stripe_seen_at = excluded.stripe_seen_at and d.status < excluded.status);

  with closed as (
    update booking.stripe_commands c
    set status = 'done', outcome = 'refused'
    from booking.payments p
    where p.id = p_payment_id and c.payment_id = p.id and c.stripe_id = p.stripe_payment_intent_id
      and c.operation = 'create_refund' and c.refund_request_id is null
      and c.status = 'dead' and c.last_error ->> 'code' = 'charge_disputed'
    returning c.id
  )
  update booking.alerts a set resolved_at = booking.clock(), resolved_by = 'stripe'
  from closed
  where a.kind = 'command_dead' and a.subject = closed.id::text and a.resolved_at is null;
  if not booking.is_refund_held(p_payment_id) then
    update booking.alerts a set resolved_at = booking.clock(), resolved_by = 'stripe'
    where a.kind = 'refund_held_by_dispute' and a.subject = p_payment_id::text and a.resolved_at is null;
  end if;
  perform booking.raise_alert('dispute', p_object ->> 'id', jsonb_build_object('payment_id', p_payment_id,
    'amount', p_object -> 'amount', 'status', p_object ->> 'status', 'reason', p_object ->> 'reason'));
end
$$;

revoke all on function booking.apply_dispute(uuid, jsonb, timestamptz) from public;
comment on function booking.apply_dispute(uuid, jsonb, timestamptz) is 'Internal: keeps one row a dispute and tells a person';
