-- Revert pgbooking:0004.payments from pg
BEGIN;
\ir ../../migrations/0004.payments.rollback.sql
COMMIT;
