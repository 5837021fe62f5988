-- Records the PaymentIntent that Stripe made for a payment. The same id again changes nothing. A second id is not
-- recorded: its cancelling is queued. For a booking no longer alive the id is recorded and its cancelling queued.
-- is_live: this PaymentIntent may be paid; where it is false the client secret must not be given out.
-- The commonest case is written first, short: a pending booking's new payment, about which nothing is under way.
-- Locks: booking -> payment -> outbox insert.
-- Errors: PT400 invalid_request (DETAIL.field) · PT404 payment_not_found · PT409 payment_intent_taken.
create or replace function booking.record_payment_intent(p_payment_id uuid, p_stripe_payment_intent_id text)
returns table (
  payment_id uuid,
  booking_status booking.booking_status,
  payment_status booking.payment_status,
  stripe_payment_intent_id text,
  is_live boolean
)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set jit = off
as $$
#variable_conflict use_column
declare
  v_booking_id uuid;
  v_status booking.booking_status;
  v_booking booking.bookings;
  v_payment booking.payments;
begin
  if p_stripe_payment_intent_id is null or length(p_stripe_payment_intent_id) not between 1 and 255 then
    perform booking.refuse(400, 'invalid_request', '{"field": "stripe_payment_intent_id"}', 'Give the PaymentIntent''s id.');
  end if;
  select b.id, b.status into v_booking_id, v_status
  from booking.payments p join booking.bookings b on b.id = p.booking_id
  where p.id = p_payment_id
  for no key update of b;
  if v_status = 'pending' then
    return query
      update booking.payments p set stripe_payment_intent_id = p_stripe_payment_intent_id
      where p.id = p_payment_id and p.booking_id = v_booking_id and p.status = 'pending' and p.stripe_payment_intent_id is null
        and not exists (select from booking.payments o where o.stripe_payment_intent_id = p_stripe_payment_intent_id)
        and not exists (select from booking.stripe_commands c
                        where c.stripe_id = p_stripe_payment_intent_id and c.status in ('pending', 'running'))
      returning p.id, v_status, p.status, p.stripe_payment_intent_id, true;
    if found then
      return;
    end if;
  end if;

  v_booking := booking.lock_payment(p_payment_id, false);
  if v_booking.id is null then
    perform booking.refuse(404, 'payment_not_found', jsonb_build_object('payment_id', p_payment_id), 'Prepare the payment first.');
  end if;
  select p.* into v_payment from booking.payments p where p.id = p_payment_id;

  if v_payment.stripe_payment_intent_id is null then
    perform from booking.payments p where p.stripe_payment_intent_id = p_stripe_payment_intent_id;
    if found then
      perform booking.refuse(409, 'payment_intent_taken', jsonb_build_object('stripe_payment_intent_id', p_stripe_payment_intent_id),
        'This PaymentIntent belongs to another payment.');
    end if;
    update booking.payments p set stripe_payment_intent_id = p_stripe_payment_intent_id where p.id = p_payment_id;
    perform booking.settle_payment(v_booking.id);
  elsif v_payment.stripe_payment_intent_id <> p_stripe_payment_intent_id then
    perform booking.release_stray_intent(p_payment_id, p_stripe_payment_intent_id, 0);
  end if;

  return query
    select p.id, v_booking.status, p.status, p.stripe_payment_intent_id,
      v_booking.status in ('pending', 'confirmed', 'completed') and p.stripe_payment_intent_id = p_stripe_payment_intent_id
    from booking.payments p where p.id = p_payment_id;
end
$$;

revoke all on function booking.record_payment_intent(uuid, text) from public;
grant execute on function booking.record_payment_intent(uuid, text) to booking_app;
comment on function booking.record_payment_intent(uuid, text) is
  'Records the PaymentIntent that Stripe made for a payment; a second one, or one that came too late, is cancelled';
