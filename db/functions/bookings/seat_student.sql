-- Takes a seat and writes the pending booking that is asked for, with its lines of the statistics. p_wish is the booking:
-- its id, who, where and for how much; seat and times are filled in here. A null row, with nothing kept, means that no
-- seat was free, that the slot had begun, or that the student has another live booking there.
-- create_booking_transaction does the same in its own body: it is the hottest function, and this call inside it made it
-- about a tenth slower (4,000 bookings in a loop).
-- Internal: granted to nobody. Locks: one seat counter -> the new booking. Errors: none.
create or replace function booking.seat_student(p_wish booking.bookings)
returns booking.bookings
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_parts int;
  v_part smallint;
  v_seats_left int := -1; -- slots of several counters are counted by looking at them
  v_booking booking.bookings;
  v_now timestamptz;
begin
  select s.parts into v_parts from booking.slots s where s.id = p_wish.slot_id;
  if v_parts = 1 then
    update booking.slot_seats q set taken = q.taken + 1, is_open = q.taken + 1 < q.capacity
    where q.slot_id = p_wish.slot_id and q.part = 0 and q.taken < q.capacity
    returning q.part, q.capacity - q.taken into v_part, v_seats_left;
  else
    v_part := booking.take_class_seat(p_wish.slot_id, v_parts);
  end if;
  if v_part is null then
    return null;
  end if;

  v_now := booking.clock(); -- after the wait for the seat
  if p_wish.scheduled_at > v_now then
    insert into booking.bookings as b (id, slot_id, session_id, student_id, expert_id, payment_id, seat_part, confirmation,
      currency, amount, scheduled_at, ends_at, details, created_at, updated_at)
    values (p_wish.id, p_wish.slot_id, p_wish.session_id, p_wish.student_id, p_wish.expert_id, p_wish.payment_id, v_part,
      p_wish.confirmation, p_wish.currency, p_wish.amount, p_wish.scheduled_at, p_wish.ends_at, coalesce(p_wish.details, '{}'),
      v_now, v_now)
    on conflict (slot_id, student_id) where b.status in ('pending', 'confirmed') do nothing
    returning b.* into v_booking;
  end if;
  if v_booking.id is null then
    update booking.slot_seats q set taken = q.taken - 1, is_open = true where q.slot_id = p_wish.slot_id and q.part = v_part;
    return null;
  end if;

  insert into booking.stat_deltas (metric, at, quantity, amount)
  values ('booked', v_now, 1, 0),
         ('seats', p_wish.scheduled_at, 1, case v_seats_left when 0 then -1 else 0 end);
  return v_booking;
end
$$;

revoke all on function booking.seat_student(booking.bookings) from public;
comment on function booking.seat_student(booking.bookings) is 'Internal: takes a seat and writes the booking; a null row when there is none to have';
