drop index booking.slot_seats_open, booking.slot_seats_open_by_expert;
alter table booking.slot_seats
  drop constraint seats_within_capacity,
  drop column parts, drop column session_id, drop column amount, drop column currency, drop column ends_at, drop column confirmation, drop column is_open,
  alter column taken type int,
  add constraint slot_seats_capacity_check check (capacity > 0),
  add constraint seats_within_capacity check (taken between 0 and capacity),
  add column is_open boolean not null generated always as (taken < capacity) stored;
drop domain booking.seat_count;
create index slot_seats_open on booking.slot_seats (starts_at, slot_id) where is_open;
create index slot_seats_open_by_expert on booking.slot_seats (expert_id, starts_at, slot_id) where is_open;
comment on table booking.slot_seats is 'Seat counters: taken never exceeds capacity, whoever writes';
