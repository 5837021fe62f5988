-- Whether a booking is a hold on a seat of an instant slot that ran out before it was paid: the one that is seated again
-- when its money arrives all the same.
-- Internal: granted to nobody. Locks: none. Errors: none.
create or replace function booking.is_lapsed_hold(p_booking booking.bookings)
returns boolean
language sql immutable security definer
set search_path = pg_catalog, pg_temp
as $$
  select coalesce(p_booking.confirmation = 'instant' and p_booking.status = 'cancelled'
    and p_booking.cancelled_by = 'system' and p_booking.cancellation_reason = 'expired', false)
$$;

revoke all on function booking.is_lapsed_hold(booking.bookings) from public;
comment on function booking.is_lapsed_hold(booking.bookings) is 'Internal: whether a booking is an instant slot''s hold that ran out unpaid';
