-- Revert pgbooking:0003.bookings from pg
BEGIN;
\ir ../../migrations/0003.bookings.rollback.sql
COMMIT;
