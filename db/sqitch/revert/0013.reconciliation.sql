-- Revert pgbooking:0013.reconciliation from pg
BEGIN;
\ir ../../migrations/0013.reconciliation.rollback.sql
COMMIT;
