-- Before money for a lapsed hold is applied: locks a seat counter of its slot that has a free seat, so that reseat_booking()
-- finds one later, when booking and payment are locked and no seat may be waited for any more. It only locks: when the
-- seat is not needed after all, there is nothing to give back. A payment that is no such case, by a look without locks,
-- locks nothing. Call it first of all, with no booking or payment locked.
-- Internal: granted to nobody. Locks: one seat counter (more where it filled while being waited for). Errors: none.
create or replace function booking.lock_free_seat(p_payment_id uuid)
returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_slot_id uuid;
  v_part smallint;
begin
  select b.slot_id into v_slot_id
  from booking.payments p join booking.bookings b on b.id = p.booking_id
  where p.id = p_payment_id and p.amount_captured = 0 and p.status <> 'cancelled'
    and booking.is_lapsed_hold(b) and b.scheduled_at > booking.clock();
  if not found then
    return;
  end if;
  loop
    perform from booking.slot_seats q
    where q.slot_id = v_slot_id and q.taken < q.capacity
    order by q.part limit 1
    for no key update skip locked;
    exit when found;
    select q.part into v_part from booking.slot_seats q
    where q.slot_id = v_slot_id and q.taken < q.capacity
    order by q.part limit 1;
    exit when not found; -- full
    -- as in take_class_seat: wait for this one, and look again if it filled
    perform from booking.slot_seats q where q.slot_id = v_slot_id and q.part = v_part for no key update;
  end loop;
end
$$;

revoke all on function booking.lock_free_seat(uuid) from public;
comment on function booking.lock_free_seat(uuid) is 'Internal: locks a counter with a free seat for a lapsed hold whose money arrives';
