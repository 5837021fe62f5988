set local role booking_owner;

-- The list of open slots looked up a session for each line, which took two fifths of its time.
-- Loading the functions (keep_prices) fills it: until then the old ones publish slots, and nobody reads it.
alter table booking.slot_seats add column title text;
comment on column booking.slot_seats.title is 'The session''s title now, kept by trigger keep_prices; null where the slot is open to several sessions';

reset role;
