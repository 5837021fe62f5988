-- Verify pgbooking:0016.commands_by_trigger on pg
BEGIN;
ROLLBACK;
