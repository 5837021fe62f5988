-- Revert pgbooking:0014.statistics_by_period from pg
BEGIN;
\ir ../../migrations/0014.statistics_by_period.rollback.sql
COMMIT;
