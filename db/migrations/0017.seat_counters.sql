set local role booking_owner;

-- A domain's check is compiled once a session, a table's check anew by each statement that writes the table, and a generated
-- column too: together they took a tenth of a booking.
create domain booking.seat_count as int check (value >= 0);
comment on domain booking.seat_count is 'A number of seats, never below zero';

alter table booking.slot_seats
  drop constraint slot_seats_capacity_check,
  drop constraint seats_within_capacity,
  alter column is_open drop expression,
  alter column is_open set default true,
  alter column taken type booking.seat_count,
  add constraint seats_within_capacity check (taken <= capacity),
  add column parts smallint,
  add column session_id uuid,
  add column amount bigint,
  add column currency char(3),
  add column ends_at timestamptz,
  add column confirmation booking.confirmation_mode;
update booking.slot_seats q
set parts = s.parts, session_id = s.session_id, amount = x.amount, currency = x.currency, ends_at = s.ends_at,
  confirmation = s.confirmation
from booking.slots s left join booking.sessions x on x.id = s.session_id
where s.id = q.slot_id;
alter table booking.slot_seats
  alter column parts set not null,
  alter column ends_at set not null,
  alter column confirmation set not null;
comment on table booking.slot_seats is
  'Seat counters: taken never exceeds capacity, whoever writes; with what a booking needs to know of its slot, so that one row tells it';
comment on column booking.slot_seats.is_open is
  'taken < capacity, kept by whoever changes taken: changes only when the part fills or empties, so other updates stay HOT despite the partial indexes';
comment on column booking.slot_seats.parts is 'The slot''s, as are session, times and confirmation: a slot is never changed once published';
comment on column booking.slot_seats.amount is
  'The session''s price now, in minor units, kept by trigger keep_prices; null, as its currency, where the slot is open to several sessions';

reset role;
