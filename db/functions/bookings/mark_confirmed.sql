-- Makes a pending booking confirmed: status, audit row, statistics. The caller holds its lock and has checked it.
-- Internal: granted to nobody. Locks: none of its own. Errors: none.
drop function if exists booking.mark_confirmed(booking.bookings, text, text, timestamptz);
create or replace function booking.mark_confirmed(p_booking_id uuid, p_actor text, p_reason_code text, p_now timestamptz)
returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_created_at timestamptz;
begin
  update booking.bookings b set status = 'confirmed', confirmed_at = p_now where b.id = p_booking_id
  returning b.created_at into v_created_at;
  insert into booking.booking_events (booking_id, from_status, to_status, actor, reason, created_at)
  values (p_booking_id, 'pending', 'confirmed', p_actor, p_reason_code, p_now);
  insert into booking.stat_deltas (metric, at, quantity, amount)
  values ('confirmed', v_created_at, 1,
          (extract(epoch from p_now - v_created_at) * 1000000)::bigint);
end
$$;

revoke all on function booking.mark_confirmed(uuid, text, text, timestamptz) from public;
comment on function booking.mark_confirmed(uuid, text, text, timestamptz) is 'Internal: makes a pending booking confirmed';
