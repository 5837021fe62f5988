-- Deploy pgbooking:0019.payments_by_trigger to pg
BEGIN;
\ir ../../migrations/0019.payments_by_trigger.sql
COMMIT;
