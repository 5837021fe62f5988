-- A capture that Stripe refused because the PaymentIntent has no hold any more: the payment failed, and a live booking
-- that counted on it is cancelled and its seat freed. Had the session taken place already, a person is told.
-- Internal: granted to nobody. Locks: none of its own (the caller holds seat, booking, payment). Errors: none.
create or replace function booking.lose_hold(p_booking_id uuid, p_now timestamptz)
returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_booking booking.bookings;
begin
  select b.* into v_booking from booking.bookings b where b.id = p_booking_id;
  update booking.payments p set status = 'failed' where p.id = v_booking.payment_id and p.status = 'authorized';
  if found and v_booking.status in ('pending', 'confirmed') then
    perform booking.close_booking(v_booking.id, v_booking.status, 'cancelled', 'system', 'stripe', 'hold_lost', 'hold_lost', 100, p_now);
  elsif found and v_booking.status = 'completed' then
    perform booking.raise_alert('session_unpaid', v_booking.id::text, jsonb_build_object('payment_id', v_booking.payment_id));
  end if;
end
$$;

revoke all on function booking.lose_hold(uuid, timestamptz) from public;
comment on function booking.lose_hold(uuid, timestamptz) is 'Internal: ends a booking whose hold is gone without being canceled';
