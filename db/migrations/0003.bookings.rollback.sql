drop table booking.client_idempotency, booking.booking_events, booking.bookings cascade;
drop type booking.booking_status cascade;
