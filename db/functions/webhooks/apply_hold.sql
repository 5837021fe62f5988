-- The short way of the most common event: the card of a pending booking is held. Does what apply_stripe_object() would,
-- where nothing but the payment's status has to follow, and else nothing: false, and the long way decides.
-- It is for: a PaymentIntent that we know, of a payment not authorized yet, of a booking that is pending, with the id of
-- its charge and not the charge itself. No money was captured and nothing was asked of Stripe yet, so books, commands and
-- wishes stay as they are.
-- Internal: granted to nobody. Locks: booking -> payment. Errors: none.
create or replace function booking.apply_hold(p_intent jsonb)
returns boolean
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_booking_id uuid;
begin
  select b.id into v_booking_id
  from booking.payments p join booking.bookings b on b.id = p.booking_id
  where p.stripe_payment_intent_id = p_intent ->> 'id' and b.status = 'pending'
  for no key update of b;
  if not found then
    return false;
  end if;
  update booking.payments p
  set status = 'authorized', stripe_charge_id = coalesce(p.stripe_charge_id, p_intent ->> 'latest_charge')
  where p.booking_id = v_booking_id and p.stripe_payment_intent_id = p_intent ->> 'id'
    and p.status < 'authorized' and p.stripe_cancelled_at is null -- pending, requires_action, processing, failed
    and p.currency = lower(p_intent ->> 'currency') and jsonb_typeof(p_intent -> 'latest_charge') = 'string'
    and p_intent @> '{"object": "payment_intent", "status": "requires_capture"}'
    and coalesce(p_intent ->> 'amount_received', '0') = '0';
  return found;
end
$$;

revoke all on function booking.apply_hold(jsonb) from public;
comment on function booking.apply_hold(jsonb) is 'Internal: the short way of a payment that was authorized; false where it does not apply';
