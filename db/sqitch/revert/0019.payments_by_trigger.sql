-- Revert pgbooking:0019.payments_by_trigger from pg
BEGIN;
\ir ../../migrations/0019.payments_by_trigger.rollback.sql
COMMIT;
