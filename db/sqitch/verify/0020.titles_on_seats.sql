-- Verify pgbooking:0020.titles_on_seats on pg
BEGIN;
ROLLBACK;
