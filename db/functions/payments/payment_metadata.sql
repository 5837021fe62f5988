-- What a booking's PaymentIntent carries at Stripe: ids only. In an instant slot (a class) also whose it is, so that a
-- PaymentIntent that comes back through a browser can be checked; idempotency_key is the key that was sent to Stripe.
-- It never changes for a booking: a repeated create must be the same request, or Stripe refuses the key.
-- Internal: granted to nobody. Locks: none. Errors: none.
create or replace function booking.payment_metadata(p_booking booking.bookings)
returns jsonb
language sql stable security definer
set search_path = pg_catalog, pg_temp
as $$
  select jsonb_build_object('booking_id', p_booking.id, 'payment_id', p_booking.payment_id)
    || case p_booking.confirmation
         when 'instant' then jsonb_build_object('class_id', p_booking.slot_id, 'user_id', p_booking.student_id,
           'idempotency_key', p_booking.payment_id)
         else '{}'::jsonb
       end
$$;

revoke all on function booking.payment_metadata(booking.bookings) from public;
comment on function booking.payment_metadata(booking.bookings) is 'Internal: the metadata of a booking''s PaymentIntent, ids only';
