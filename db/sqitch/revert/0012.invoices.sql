-- Revert pgbooking:0012.invoices from pg
BEGIN;
\ir ../../migrations/0012.invoices.rollback.sql
COMMIT;
