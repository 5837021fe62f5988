-- Revert pgbooking:0006.statistics from pg
BEGIN;
\ir ../../migrations/0006.statistics.rollback.sql
COMMIT;
