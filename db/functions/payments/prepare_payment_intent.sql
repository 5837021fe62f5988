-- What the server needs to create a booking's one PaymentIntent, or to find it again: amount and currency are the
-- booking's, an amount that is given must match. Writes the payment's row when it is first needed.
-- idempotency_key and metadata are for Stripe; capture_method is manual where an expert confirms, automatic in an instant slot.
-- Locks: booking -> payment.
-- Errors: PT400 already_processed (DETAIL.status, payment_status), amount_mismatch (DETAIL.amount, currency) ·
--   PT403 not_your_booking · PT404 booking_not_found.
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
as $$
#variable_conflict use_column
declare
  v_booking booking.bookings;
  v_payment booking.payments;
  v_now timestamptz;
begin
  perform set_config('booking.actor', coalesce(p_student_id, ''), true);
  v_booking := booking.lock_booking(p_booking_id, false);
  if v_booking.id is null then
    perform booking.refuse(404, 'booking_not_found', jsonb_build_object('booking_id', p_booking_id), 'Check the booking''s id.');
  end if;
  if v_booking.student_id is distinct from p_student_id then
    perform booking.refuse(403, 'not_your_booking', jsonb_build_object('booking_id', p_booking_id), 'Only its student pays for a booking.');
  end if;
  select p.* into v_payment from booking.payments p where p.id = v_booking.payment_id for no key update;
  if v_booking.status <> 'pending'
    or v_payment.status in ('authorized', 'captured', 'partially_refunded', 'refunded', 'cancelled')
  then
    perform booking.refuse(400, 'already_processed',
      jsonb_build_object('booking_id', p_booking_id, 'status', v_booking.status, 'payment_status', v_payment.status),
      'Only a pending, unpaid booking can be paid.');
  end if;
  if p_amount is not null and p_amount <> v_booking.amount then
    perform booking.refuse(400, 'amount_mismatch',
      jsonb_build_object('field', 'amount', 'amount', v_booking.amount, 'currency', v_booking.currency),
      'The price is the booking''s, in minor units.');
  end if;
  if v_payment.id is null then
    v_now := booking.clock();
    insert into booking.payments (id, booking_id, amount, currency, created_at, updated_at)
    values (v_booking.payment_id, v_booking.id, v_booking.amount, v_booking.currency, v_now, v_now);
  end if;
  return query select v_booking.payment_id, v_booking.amount, v_booking.currency::text,
    case v_booking.confirmation when 'instant' then 'automatic' else 'manual' end,
    v_booking.payment_id::text,
    v_payment.stripe_payment_intent_id,
    booking.payment_metadata(v_booking);
end
$$;

revoke all on function booking.prepare_payment_intent(text, uuid, bigint) from public;
grant execute on function booking.prepare_payment_intent(text, uuid, bigint) to booking_app;
comment on function booking.prepare_payment_intent(text, uuid, bigint) is
  'Amount (minor units), currency, idempotency key and metadata for a booking''s one PaymentIntent';
