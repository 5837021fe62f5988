-- Applies what a PaymentIntent or charge says of a payment's status, as a maximum over everything seen:
-- before authorization the newest wins (time of the object, then rank), afterwards a status is only reached, never left.
-- Internal: granted to nobody. Locks: none of its own (the caller holds the payment). Errors: none.
create or replace function booking.apply_payment_status(
  p_payment booking.payments,
  p_target text,
  p_captured bigint,
  p_seen_at timestamptz,
  p_object jsonb
)
returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_before_hold constant text[] := array['pending', 'requires_action', 'processing', 'failed']; -- in order of rank
  v_status text := p_payment.status::text;
  v_is_held boolean := coalesce(p_target in ('authorized', 'captured'), false);
  v_is_charge boolean := p_object ? 'captured';
  v_charge jsonb := case when v_is_charge then p_object
                         when jsonb_typeof(p_object -> 'latest_charge') = 'object' then p_object -> 'latest_charge' end;
  -- what a partial capture left of the hold counts as refunded at Stripe; it was never ours
  v_released bigint := case when v_is_charge then greatest(0, (p_object ->> 'amount')::bigint
                                                              - coalesce((p_object ->> 'amount_captured')::bigint,
                                                                         (p_object ->> 'amount')::bigint)) else 0 end;
begin
  if p_target = any (v_before_hold) then
    if not v_status = any (v_before_hold)
      or p_payment.stripe_seen_at > p_seen_at
      or p_payment.stripe_seen_at = p_seen_at
         and array_position(v_before_hold, v_status) > array_position(v_before_hold, p_target)
    then
      p_target := null;
    end if;
  elsif p_target = 'authorized' and not v_status = any (v_before_hold) then
    p_target := null;
  elsif p_target = 'captured' and v_status in ('captured', 'partially_refunded', 'refunded') then
    p_target := null;
  elsif p_target = 'cancelled' and v_status <> 'authorized' and not v_status = any (v_before_hold) then
    p_target := null;
  end if;

  update booking.payments p
  set status = coalesce(p_target::booking.payment_status, p.status),
      amount_captured = greatest(p.amount_captured, p_captured),
      charge_refunded = case when v_is_charge and (p_object ->> 'captured')::boolean
        then greatest(p.charge_refunded, coalesce((p_object ->> 'amount_refunded')::bigint, 0) - v_released)
        else p.charge_refunded end,
      -- a card that was declined leaves a charge too
      stripe_charge_id = coalesce(p.stripe_charge_id, case when v_charge ->> 'status' is distinct from 'failed' then v_charge ->> 'id' end,
        case when v_is_held and jsonb_typeof(p_object -> 'latest_charge') = 'string' then p_object ->> 'latest_charge' end),
      capture_before = coalesce(
        to_timestamp((v_charge #>> '{payment_method_details,card,capture_before}')::double precision), p.capture_before),
      stripe_seen_at = case when p_target = any (v_before_hold) then p_seen_at else p.stripe_seen_at end,
      stripe_cancelled_at = case when p_object ->> 'object' = 'payment_intent' and p_object ->> 'status' = 'canceled'
          or p_target = 'cancelled' then coalesce(p.stripe_cancelled_at, p_seen_at) else p.stripe_cancelled_at end
  where p.id = p_payment.id;
end
$$;

revoke all on function booking.apply_payment_status(booking.payments, text, bigint, timestamptz, jsonb) from public;
comment on function booking.apply_payment_status(booking.payments, text, bigint, timestamptz, jsonb) is
  'Internal: applies what Stripe says of a payment''s status, as a maximum over everything seen';
