-- Revert pgbooking:0007.maintenance from pg
BEGIN;
\ir ../../migrations/0007.maintenance.rollback.sql
COMMIT;
