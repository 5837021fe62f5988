alter table booking.slot_seats drop column title;
