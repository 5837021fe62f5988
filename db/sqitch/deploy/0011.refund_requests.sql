-- Deploy pgbooking:0011.refund_requests to pg
BEGIN;
\ir ../../migrations/0011.refund_requests.sql
COMMIT;
