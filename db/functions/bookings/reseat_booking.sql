-- Money that arrived for a hold that had lapsed: seats its student again, in a new booking (a cancelled one stays cancelled)
-- with the same payment, which follows it, and confirms it. Returns the new booking; a null row when the money is to go
-- back instead: the slot has begun or has no free seat, the student has another live booking there, the price was not
-- captured whole, or some of it was given back or is disputed already.
-- It never waits for a seat, because booking and payment are locked: lock_free_seat() has kept one before. Without that
-- (the hold lapsed while the caller waited for it) only a counter that nobody works on is taken; where each of them that has
-- a seat is being written, nothing is decided: the caller tries again, and finds the hold lapsed from the start.
-- Internal: granted to nobody. Locks: seat counter, skipping locked ones -> the new booking (the caller holds the old
-- booking and the payment). Errors: 40001 (nothing written, try again).
create or replace function booking.reseat_booking(p_booking booking.bookings)
returns booking.bookings
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_payment booking.payments;
  v_booking booking.bookings;
begin
  select p.* into v_payment from booking.payments p where p.id = p_booking.payment_id and p.booking_id = p_booking.id;
  if v_payment.id is null or not booking.is_lapsed_hold(p_booking)
    or v_payment.amount_captured < v_payment.amount or v_payment.charge_refunded > 0
  then
    return null;
  end if;
  perform from booking.refunds f where f.payment_id = v_payment.id and f.status not in ('failed', 'canceled');
  if found then
    return null;
  end if;
  perform from booking.disputes d
  where d.payment_id = v_payment.id and d.status not in ('won', 'warning_closed', 'prevented');
  if found then
    return null;
  end if;
  perform from booking.slot_seats q
  where q.slot_id = p_booking.slot_id and q.taken < q.capacity
  order by q.part limit 1
  for no key update skip locked;
  if not found then
    perform from booking.slot_seats q where q.slot_id = p_booking.slot_id and q.taken < q.capacity;
    if found and p_booking.scheduled_at > booking.clock() then
      raise exception using errcode = '40001', message = 'could not take a seat: the hold has just ended', hint = 'Try again.';
    end if;
    return null;
  end if;

  v_booking := p_booking;
  v_booking.id := booking.new_id(p_near => p_booking.id);
  v_booking := booking.seat_student(v_booking); -- finds the start passed, and another live booking
  if v_booking.id is null then
    return null;
  end if;
  update booking.payments p set booking_id = v_booking.id where p.id = v_payment.id;
  perform booking.mark_confirmed(v_booking.id, 'stripe', 'reseated', booking.clock());
  perform booking.audit('booking.reseated', v_booking.id::text, null, jsonb_build_object('payment_id', v_payment.id,
    'lapsed_booking_id', p_booking.id, 'amount', v_payment.amount, 'currency', v_payment.currency));
  select b.* into v_booking from booking.bookings b where b.id = v_booking.id;
  return v_booking;
end
$$;

revoke all on function booking.reseat_booking(booking.bookings) from public;
comment on function booking.reseat_booking(booking.bookings) is
  'Internal: seats the student of a lapsed hold again whose money arrived; a null row when it is to be refunded';
