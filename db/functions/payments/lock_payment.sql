-- Locks what a Stripe object may change, in the one order: seat counter (p_with_seat) -> booking -> payment.
-- Returns the booking; a null row means that there is no such payment.
-- Internal: granted to nobody. Errors: none.
create or replace function booking.lock_payment(p_payment_id uuid, p_with_seat boolean)
returns booking.bookings
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_booking_id uuid;
  v_booking booking.bookings;
begin
  loop
    select p.booking_id into v_booking_id from booking.payments p where p.id = p_payment_id;
    exit when not found or v_booking_id is not distinct from v_booking.id;
    -- a payment only moves on (reseat_booking) under the lock of the booking it leaves: look again when we have it
    v_booking := booking.lock_booking(v_booking_id, p_with_seat);
  end loop;
  perform from booking.payments p where p.id = p_payment_id for no key update;
  return v_booking;
end
$$;

revoke all on function booking.lock_payment(uuid, boolean) from public;
comment on function booking.lock_payment(uuid, boolean) is 'Internal: locks a payment and its booking in the common order';
