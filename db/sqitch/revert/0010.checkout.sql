-- Revert pgbooking:0010.checkout from pg
BEGIN;
\ir ../../migrations/0010.checkout.rollback.sql
COMMIT;
