-- Verify pgbooking:0023.events_by_trigger on pg
BEGIN;
ROLLBACK;
