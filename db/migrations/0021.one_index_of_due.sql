set local role booking_owner;

-- Each partial index costs every statement that writes a booking its condition; one that looks for nulls alone costs least.
drop index booking.bookings_pending, booking.bookings_confirmed;
create index bookings_due on booking.bookings (status, (case when confirmed_at is not null then ends_at else created_at end))
  where closed_at is null;
comment on index booking.bookings_due is 'Pending bookings by their creation, confirmed ones by their end: what cleanup and completion ask for';

reset role;
