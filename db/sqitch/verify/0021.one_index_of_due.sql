-- Verify pgbooking:0021.one_index_of_due on pg
BEGIN;
ROLLBACK;
