-- Revert pgbooking:0017.seat_counters from pg
BEGIN;
\ir ../../migrations/0017.seat_counters.rollback.sql
COMMIT;
