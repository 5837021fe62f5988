-- Revert pgbooking:0011.refund_requests from pg
BEGIN;
\ir ../../migrations/0011.refund_requests.rollback.sql
COMMIT;
