-- Deploy pgbooking:0005.webhooks to pg
BEGIN;
\ir ../../migrations/0005.webhooks.sql
COMMIT;
