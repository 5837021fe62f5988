-- What the server needs to create a booking's one PaymentIntent, or to find it again: amount and currency are the
-- booking's, an amount that is given must match. Writes the payment's row when it is first needed.
-- idempotency_key and metadata are for Stripe; capture_method is manual where an expert confirms, automatic in an instant slot.
-- The metadata are ids only; of an instant slot (a class) also whose it is, so that a PaymentIntent that comes back through a
-- browser can be checked. They never change for a booking: a repeated create must be the same request, or Stripe refuses the key.
-- Locks: booking -> payment.
-- Errors: PT400 already_processed (DETAIL.status, payment_status), amount_mismatch (DETAIL.amount, currency) ·
--   PT403 not_your_booking · PT404 booking_not_found.
drop function if exists booking.payment_metadata(booking.bookings);
create or replace function booking.prepare_payment_intent(p_student_id text, p_booking_id uuid, p_amount bigint default null)
returns table (
  payment_id uuid,
  amount bigint,
  currency text,
  capture_method text,
  idempotency_key text,
  stripe_payment_intent_id text,
  metadata jsonb
)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set jit = off
as $$
#variable_conflict use_column
declare
  v_student_id text;
  v_slot_id uuid;
  v_status booking.booking_status;
  v_amount bigint;
  v_currency text;
  v_is_instant boolean;
  v_payment_id uuid;
  v_payment_status booking.payment_status;
  v_intent_id text;
  v_now timestamptz;
begin
  capture_method := set_config('booking.actor', coalesce(p_student_id, ''), true); -- perform would run a query
  select b.student_id, b.slot_id, b.status, b.amount, b.currency, b.confirmation = 'instant', b.payment_id
  into v_student_id, v_slot_id, v_status, v_amount, v_currency, v_is_instant, v_payment_id
  from booking.bookings b where b.id = p_booking_id for no key update;
  if not found then
    perform booking.refuse(404, 'booking_not_found', jsonb_build_object('booking_id', p_booking_id), 'Check the booking''s id.');
  end if;
  if v_student_id is distinct from p_student_id then
    perform booking.refuse(403, 'not_your_booking', jsonb_build_object('booking_id', p_booking_id), 'Only its student pays for a booking.');
  end if;
  select p.status, p.stripe_payment_intent_id into v_payment_status, v_intent_id
  from booking.payments p where p.id = v_payment_id for no key update;
  if v_status <> 'pending'
    or v_payment_status in ('authorized', 'captured', 'partially_refunded', 'refunded', 'cancelled')
  then
    perform booking.refuse(400, 'already_processed',
      jsonb_build_object('booking_id', p_booking_id, 'status', v_status, 'payment_status', v_payment_status),
      'Only a pending, unpaid booking can be paid.');
  end if;
  if p_amount <> v_amount then
    perform booking.refuse(400, 'amount_mismatch',
      jsonb_build_object('field', 'amount', 'amount', v_amount, 'currency', v_currency),
      'The price is the booking''s, in minor units.');
  end if;
  if v_payment_status is null then
    v_now := booking.clock();
    insert into booking.payments (id, booking_id, amount, currency, created_at, updated_at)
    values (v_payment_id, p_booking_id, v_amount, v_currency, v_now, v_now);
  end if;
  payment_id := v_payment_id;
  amount := v_amount;
  currency := v_currency;
  capture_method := case when v_is_instant then 'automatic' else 'manual' end;
  idempotency_key := v_payment_id;
  stripe_payment_intent_id := v_intent_id;
  metadata := jsonb_build_object('booking_id', p_booking_id, 'payment_id', v_payment_id);
  if v_is_instant then
    metadata := metadata || jsonb_build_object('class_id', v_slot_id, 'user_id', v_student_id, 'idempotency_key', v_payment_id);
  end if;
  return next;
end
$$;

revoke all on function booking.prepare_payment_intent(text, uuid, bigint) from public;
grant execute on function booking.prepare_payment_intent(text, uuid, bigint) to booking_app;
comment on function booking.prepare_payment_intent(text, uuid, bigint) is
  'Amount (minor units), currency, idempotency key and metadata for a booking''s one PaymentIntent';
