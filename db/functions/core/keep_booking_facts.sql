-- Trigger: what a booking was made with never changes. It is bound to those columns, so it costs a statement that sets
-- none of them nothing.
-- Locks: none beyond the row. Errors: PT409 append_only (a fact of creation was changed).
create or replace function booking.keep_booking_facts()
returns trigger
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  if (new.id, new.slot_id, new.seat_part, new.student_id, new.expert_id, new.payment_id, new.amount, new.currency)
    is distinct from
     (old.id, old.slot_id, old.seat_part, old.student_id, old.expert_id, old.payment_id, old.amount, old.currency)
  then
    perform booking.refuse(409, 'append_only', jsonb_build_object('table', 'bookings', 'booking_id', old.id),
      'Who booked what, where and for how much is fixed at creation.');
  end if;
  return new;
end
$$;

revoke all on function booking.keep_booking_facts() from public;
comment on function booking.keep_booking_facts() is 'Trigger: what a booking was made with never changes';

create or replace trigger keep_booking_facts
  before update of id, slot_id, seat_part, student_id, expert_id, payment_id, amount, currency on booking.bookings
  for each row execute function booking.keep_booking_facts();
