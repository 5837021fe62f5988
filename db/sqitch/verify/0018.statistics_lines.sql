-- Verify pgbooking:0018.statistics_lines on pg
BEGIN;
ROLLBACK;
