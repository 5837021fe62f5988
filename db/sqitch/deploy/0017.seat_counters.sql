-- Deploy pgbooking:0017.seat_counters to pg
BEGIN;
\ir ../../migrations/0017.seat_counters.sql
COMMIT;
