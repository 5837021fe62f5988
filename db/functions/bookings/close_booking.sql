-- Ends a live booking as declined or cancelled: status, freed seat, audit row, statistics, all in one place.
-- The caller holds the locks of lock_booking(.., true) and has checked that the booking is live.
-- p_from is the status that it ends from. p_reason_code goes into the audit trail, p_reason (may be a person's words) into
-- the booking, where it can be scrubbed.
-- Internal: granted to nobody. Locks: none of its own. Errors: none.
drop function if exists booking.close_booking(booking.bookings, booking.booking_status, text, text, text, text, int, timestamptz);
create or replace function booking.close_booking(
  p_booking_id uuid,
  p_from booking.booking_status,
  p_status booking.booking_status,
  p_cancelled_by text,
  p_actor text,
  p_reason_code text,
  p_reason text,
  p_refund_percent int,
  p_now timestamptz
)
returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_slot_id uuid;
  v_seat_part smallint;
  v_created_at timestamptz;
  v_scheduled_at timestamptz;
  v_reopened boolean;
begin
  update booking.bookings b
  set status = p_status, cancelled_by = p_cancelled_by, cancellation_reason = p_reason,
      refund_percent = p_refund_percent, closed_at = p_now
  where b.id = p_booking_id
  returning b.slot_id, b.seat_part, b.created_at, b.scheduled_at into v_slot_id, v_seat_part, v_created_at, v_scheduled_at;

  update booking.slot_seats q set taken = q.taken - 1, is_open = true
  where q.slot_id = v_slot_id and q.part = v_seat_part
  returning q.taken + 1 = q.capacity and q.parts = 1 into v_reopened;

  insert into booking.booking_events (booking_id, from_status, to_status, actor, reason, created_at)
  values (p_booking_id, p_from, p_status, p_actor, p_reason_code, p_now);

  insert into booking.stat_deltas (metric, at, quantity, amount)
  values (case when p_from = 'confirmed' then 'cancelled_after_confirmation'
               when p_status = 'declined' then 'declined'
               when p_cancelled_by = 'system' and p_reason_code = 'expired' then 'expired'
               else 'cancelled' end::booking.stat_metric,
          v_created_at, 1, 0),
         ('seats', v_scheduled_at, -1, v_reopened::int);
end
$$;

revoke all on function booking.close_booking(uuid, booking.booking_status, booking.booking_status, text, text, text, text, int, timestamptz) from public;
comment on function booking.close_booking(uuid, booking.booking_status, booking.booking_status, text, text, text, text, int, timestamptz) is
  'Internal: ends a live booking and frees its seat';
