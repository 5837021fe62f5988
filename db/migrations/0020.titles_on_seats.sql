set local role booking_owner;

-- The list of open slots looked up a session for each line, which took two fifths of its time.
alter table booking.slot_seats add column title text;
update booking.slot_seats q set title = x.title from booking.sessions x where x.id = q.session_id;
comment on column booking.slot_seats.title is 'The session''s title now, kept by trigger keep_prices; null where the slot is open to several sessions';

reset role;
