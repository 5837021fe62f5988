-- Deploy pgbooking:0008.audit to pg
BEGIN;
\ir ../../migrations/0008.audit.sql
COMMIT;
