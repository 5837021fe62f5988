-- Keeps one row a dispute: the newest word wins, a closing word (won, lost, warning_closed, prevented) is final.
-- A person is told of each; refunds of the payment are held back while it is open or lost (settle_payment).
-- Internal: granted to nobody. Locks: the dispute (the caller holds the payment). Errors: none.
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
  perform booking.raise_alert('dispute', p_object ->> 'id', jsonb_build_object('payment_id', p_payment_id,
    'amount', p_object -> 'amount', 'status', p_object ->> 'status', 'reason', p_object ->> 'reason'));
end
$$;

revoke all on function booking.apply_dispute(uuid, jsonb, timestamptz) from public;
comment on function booking.apply_dispute(uuid, jsonb, timestamptz) is 'Internal: keeps one row a dispute and tells a person';
