-- Takes one seat of a slot whose seats are spread over several counter rows; returns the row's part, or null when
-- every seat is taken. Buyers enter at a random row and skip the locked ones, so they seldom meet; they wait only
-- when each row that still has seats is locked, and give up only when a fresh look finds none: seats are never
-- oversold, and nobody is refused while one is free.
-- Internal: granted to nobody. Locks: one counter row. Errors: none.
create or replace function booking.take_class_seat(p_slot_id uuid, p_parts int)
returns smallint
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_start int := floor(random() * p_parts);
  v_part smallint;
begin
  loop
    select q.part into v_part from booking.slot_seats q
    where q.slot_id = p_slot_id and q.part >= v_start and q.taken < q.capacity
    order by q.part limit 1
    for no key update skip locked;
    if not found then
      select q.part into v_part from booking.slot_seats q
      where q.slot_id = p_slot_id and q.part < v_start and q.taken < q.capacity
      order by q.part limit 1
      for no key update skip locked;
    end if;
    if not found then
      select q.part into v_part from booking.slot_seats q
      where q.slot_id = p_slot_id and q.taken < q.capacity
      order by q.part < v_start, q.part limit 1;
      if not found then
        return null;
      end if;
      -- Every row with a seat is being written: wait for this one, and look again if it filled. One row a statement: a
      -- row that filled stays locked, but whoever looks afterwards sees it full, so nobody waits for each other.
      perform from booking.slot_seats q where q.slot_id = p_slot_id and q.part = v_part for no key update;
    end if;
    update booking.slot_seats q set taken = q.taken + 1, is_open = q.taken + 1 < q.capacity
    where q.slot_id = p_slot_id and q.part = v_part and q.taken < q.capacity;
    if found then
      return v_part;
    end if;
  end loop;
  return null;
end
$$;

revoke all on function booking.take_class_seat(uuid, int) from public;
comment on function booking.take_class_seat(uuid, int) is 'Internal: takes a seat of a class; null when it is full';
