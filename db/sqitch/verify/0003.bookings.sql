-- Verify pgbooking:0003.bookings on pg
BEGIN;
select 'booking.booking_status'::regtype;
select 'booking.bookings'::regclass;
select 'booking.booking_events'::regclass;
select 'booking.client_idempotency'::regclass;
ROLLBACK;
