-- Revert pgbooking:0008.audit from pg
BEGIN;
\ir ../../migrations/0008.audit.rollback.sql
COMMIT;
