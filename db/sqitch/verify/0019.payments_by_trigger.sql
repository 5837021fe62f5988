-- Verify pgbooking:0019.payments_by_trigger on pg
BEGIN;
ROLLBACK;
