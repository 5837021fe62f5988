-- Locks a booking in the one order that everybody keeps, seat counter -> booking, and returns its row as it is then.
-- The seat is locked only on request: by who may free it. A null row means that there is no such booking.
-- Internal: granted to nobody. Locks: seat counter (p_with_seat) -> booking. Errors: none.
create or replace function booking.lock_booking(p_booking_id uuid, p_with_seat boolean)
returns booking.bookings
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_booking booking.bookings;
begin
  if p_with_seat then
    perform from booking.slot_seats q
    where (q.slot_id, q.part) = (select b.slot_id, b.seat_part from booking.bookings b where b.id = p_booking_id)
    for no key update;
  end if;
  select b.* into v_booking from booking.bookings b where b.id = p_booking_id for no key update;
  return v_booking;
end
$$;

revoke all on function booking.lock_booking(uuid, boolean) from public;
comment on function booking.lock_booking(uuid, boolean) is 'Internal: locks a booking, and its seat first if it may be freed';
