-- Deploy pgbooking:0010.checkout to pg
BEGIN;
\ir ../../migrations/0010.checkout.sql
COMMIT;
