-- Applies an object of Stripe (PaymentIntent, charge, refund, dispute), from an event or from an answer to a call, to the
-- payment it belongs to: found by its PaymentIntent id, else by metadata.payment_id, else as the caller says
-- (p_payment_id, p_intent_id: of the command that was answered). A booking whose payment was lost in a
-- restore gets it back (revive_payment). Returns false for what is not ours.
-- Every effect is a maximum over what was seen, so the order of arrival never matters:
--   before authorization the newest status wins (time, then rank); authorized, captured and cancelled are only reached,
--   never left; a refund only moves towards failed or succeeded; totals only grow beyond what the refunds explain.
-- The booking follows in the same commit: captured confirms an instant slot's booking, or seats its student again where
-- the hold had lapsed and a seat is free (reseat_booking); a PaymentIntent canceled by Stripe ends a live booking. Then
-- settle_payment() queues what Stripe must be told.
-- p_type is the event's type; null for an answer, where the object's own status speaks.
-- p_is_locked: the caller holds booking and payment (and has called lock_free_seat() before), so no seat is waited for.
-- Internal: granted to nobody. Locks: (seat counter ->) booking -> payment -> outbox insert.
-- Errors: PT409 currency_mismatch; constraint violations where an object contradicts our books.
drop function if exists booking.apply_stripe_object(jsonb, text, timestamptz, text, uuid, text);
create or replace function booking.apply_stripe_object(
  p_object jsonb,
  p_type text,
  p_seen_at timestamptz,
  p_source text,
  p_payment_id uuid default null,
  p_intent_id text default null,
  p_is_locked boolean default false
)
returns boolean
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_kind text;
  v_intent_id text;
  v_payment_id uuid;
  v_booking booking.bookings;
  v_payment booking.payments;
  v_target text;
  v_captured bigint := 0;
  v_is_news boolean;
  v_reseated booking.bookings;
  v_now timestamptz;
begin
  select f.kind, f.intent_id, f.payment_id into v_kind, v_intent_id, v_payment_id
  from booking.payment_of(p_object, p_type, p_payment_id, p_intent_id) f;
  if v_payment_id is null then
    v_payment_id := booking.revive_payment(p_object);
  end if;
  if v_payment_id is null then
    return false;
  end if;

  -- what the object says
  if v_kind = 'payment_intent' then
    v_captured := coalesce((p_object ->> 'amount_received')::bigint, 0);
    v_target := case
      when p_type = 'payment_intent.canceled' or p_type is null and p_object ->> 'status' = 'canceled' then 'cancelled'
      when (p_type = 'payment_intent.succeeded' or p_type is null and p_object ->> 'status' = 'succeeded') and v_captured > 0
        then 'captured'
      when p_type in ('payment_intent.succeeded', 'payment_intent.amount_capturable_updated')
        or p_type is null and p_object ->> 'status' in ('succeeded', 'requires_capture') then 'authorized'
      when p_type = 'payment_intent.payment_failed'
        or p_type is null and p_object ->> 'status' = 'requires_payment_method'
           and jsonb_typeof(p_object -> 'last_payment_error') = 'object' then 'failed'
      when p_type = 'payment_intent.processing' or p_type is null and p_object ->> 'status' = 'processing' then 'processing'
      when p_type = 'payment_intent.requires_action' or p_type is null and p_object ->> 'status' = 'requires_action'
        then 'requires_action'
    end;
  elsif v_kind = 'charge' then
    if coalesce((p_object ->> 'captured')::boolean, false) then
      v_captured := coalesce((p_object ->> 'amount_captured')::bigint, (p_object ->> 'amount')::bigint, 0);
      v_target := case when v_captured > 0 then 'captured' end;
    elsif p_type = 'charge.expired' then
      v_target := 'cancelled';
    elsif p_type = 'charge.succeeded' and not coalesce((p_object ->> 'refunded')::boolean, false) then
      v_target := 'authorized';
    end if;
  end if;

  if v_target = 'captured' and not p_is_locked then
    perform booking.lock_free_seat(v_payment_id);
  end if;
  v_booking := booking.lock_payment(v_payment_id, v_target is not distinct from 'cancelled');
  if v_booking.id is null then
    return false;
  end if;
  select p.* into v_payment from booking.payments p where p.id = v_payment_id;
  v_now := booking.clock();
  -- a dispute may be in the currency of the card: it holds refunds back all the same
  if v_kind <> 'dispute' and lower(p_object ->> 'currency') <> v_payment.currency then
    perform booking.refuse(409, 'currency_mismatch',
      jsonb_build_object('payment_id', v_payment.id, 'ours', v_payment.currency, 'theirs', p_object ->> 'currency'),
      'Stripe''s object is in another currency than the payment.');
  end if;

  if v_payment.stripe_payment_intent_id is null and v_intent_id is not null then
    -- the event was faster than record_payment_intent()
    update booking.payments p set stripe_payment_intent_id = v_intent_id where p.id = v_payment.id;
    v_payment.stripe_payment_intent_id := v_intent_id;
  end if;
  if v_payment.stripe_payment_intent_id <> v_intent_id
    or v_payment.status = 'cancelled' and v_target = 'captured'
  then
    if v_target = 'captured' then
      perform booking.release_stray_intent(v_payment.id, v_intent_id, v_captured);
    elsif v_kind = 'payment_intent' and v_target is distinct from 'cancelled' then
      perform booking.release_stray_intent(v_payment.id, v_intent_id, 0);
    elsif v_kind = 'refund' and p_object ->> 'status' in ('failed', 'canceled') then
      perform booking.raise_alert('refund_failed', p_object ->> 'id', jsonb_build_object('payment_id', v_payment.id,
        'stripe_id', v_intent_id, 'amount', p_object -> 'amount', 'reason', p_object ->> 'failure_reason'));
    end if;
    return true;
  end if;

  if v_kind = 'refund' then
    perform booking.apply_refund(v_payment.id, p_object, p_source);
  elsif v_kind = 'dispute' then
    perform booking.apply_dispute(v_payment.id, p_object, p_seen_at);
  elsif v_kind in ('payment_intent', 'charge') then
    v_is_news := v_payment.amount_captured = 0;
    perform booking.apply_payment_status(v_payment, v_target, v_captured, p_seen_at, p_object);
    select p.* into v_payment from booking.payments p where p.id = v_payment_id;
    if v_payment.amount_captured > 0 and v_booking.status = 'pending' and v_booking.confirmation = 'instant' then
      perform booking.mark_confirmed(v_booking.id, 'stripe', 'paid', v_now);
    elsif v_payment.amount_captured > 0 and v_is_news and booking.is_lapsed_hold(v_booking) then
      v_reseated := booking.reseat_booking(v_booking);
      if v_reseated.id is not null then
        v_booking := v_reseated;
      end if;
    elsif v_target = 'cancelled' and v_payment.status = 'cancelled' and v_booking.status in ('pending', 'confirmed') then
      perform booking.close_booking(v_booking.id, v_booking.status, 'cancelled', 'system', 'stripe', 'payment_cancelled',
        'payment_cancelled', 100, v_now);
    elsif v_target = 'cancelled' and v_payment.status = 'cancelled' and v_booking.status = 'completed' then
      perform booking.raise_alert('session_unpaid', v_booking.id::text, jsonb_build_object('payment_id', v_payment.id));
    end if;
  end if;
  perform booking.keep_books(v_payment_id, p_source);
  perform booking.close_fulfilled_commands(v_payment_id);
  perform booking.settle_payment(v_booking.id);
  return true;
end
$$;

revoke all on function booking.apply_stripe_object(jsonb, text, timestamptz, text, uuid, text, boolean) from public;
comment on function booking.apply_stripe_object(jsonb, text, timestamptz, text, uuid, text, boolean) is
  'Internal: applies a Stripe object to the payment it belongs to, whatever the order of arrival; false when it is not ours';
