-- Revert pgbooking:0018.statistics_lines from pg
BEGIN;
\ir ../../migrations/0018.statistics_lines.rollback.sql
COMMIT;
