-- Deploy pgbooking:0003.bookings to pg
BEGIN;
\ir ../../migrations/0003.bookings.sql
COMMIT;
