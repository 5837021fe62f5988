-- Deploy pgbooking:0004.payments to pg
BEGIN;
\ir ../../migrations/0004.payments.sql
COMMIT;
