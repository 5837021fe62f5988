-- Deploy pgbooking:0012.invoices to pg
BEGIN;
\ir ../../migrations/0012.invoices.sql
COMMIT;
