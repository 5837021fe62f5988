-- Trigger: a booking moves only along an edge of its transition table, updated_at is kept.
--   pending -> confirmed | declined | cancelled;  confirmed -> cancelled | completed
-- A cancelled booking says by whom, a declined or cancelled one what it gives back, an ended one since when.
-- What is fixed at creation is watched by keep_booking_facts, which only runs when somebody sets one of those columns.
-- Locks: none beyond the row. Errors: PT409 illegal_transition, inconsistent_booking.
create or replace function booking.keep_booking()
returns trigger
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  -- each comparison costs in every transaction, a look for null does not: the two most common steps have short conditions
  if old.status = 'pending' and new.status = 'confirmed' and new.cancelled_by is null and new.refund_percent is null and new.closed_at is null then
    new.updated_at := booking.clock();
    return new;
  end if;
  if old.status in ('pending', 'confirmed') and new.status = 'cancelled' and new.cancelled_by in ('student', 'expert', 'system')
    and new.refund_percent between 0 and 100 and new.closed_at is not null
  then
    new.updated_at := booking.clock();
    return new;
  end if;
  if new.status <> old.status
    and not (old.status = 'pending' and new.status in ('confirmed', 'declined', 'cancelled'))
    and not (old.status = 'confirmed' and new.status in ('cancelled', 'completed'))
  then
    perform booking.refuse(409, 'illegal_transition',
      jsonb_build_object('booking_id', old.id, 'from', old.status, 'to', new.status),
      'Bookings move only along the edges of their transition table.');
  end if;
  if (new.status = 'cancelled') <> (new.cancelled_by is not null)
    or new.cancelled_by not in ('student', 'expert', 'system')
    or (new.status in ('declined', 'cancelled')) <> (new.refund_percent is not null)
    or new.refund_percent not between 0 and 100
    or (new.status in ('pending', 'confirmed')) <> (new.closed_at is null)
  then
    perform booking.refuse(409, 'inconsistent_booking', jsonb_build_object('booking_id', new.id, 'status', new.status),
      'cancelled_by, refund_percent and closed_at belong to the status.');
  end if;
  new.updated_at := booking.clock();
  return new;
end
$$;

revoke all on function booking.keep_booking() from public;
comment on function booking.keep_booking() is 'Trigger: bookings move only along the edges of their transition table';

create or replace trigger keep_booking before update on booking.bookings
  for each row execute function booking.keep_booking();
