-- Verify pgbooking:0017.seat_counters on pg
BEGIN;
ROLLBACK;
