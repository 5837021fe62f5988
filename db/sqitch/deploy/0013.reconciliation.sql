-- Deploy pgbooking:0013.reconciliation to pg
BEGIN;
\ir ../../migrations/0013.reconciliation.sql
COMMIT;
