-- Revert pgbooking:0005.webhooks from pg
BEGIN;
\ir ../../migrations/0005.webhooks.rollback.sql
COMMIT;
