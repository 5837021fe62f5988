drop index booking.bookings_due;
create index bookings_pending on booking.bookings (created_at) where status = 'pending';
create index bookings_confirmed on booking.bookings (ends_at) where status = 'confirmed';
