-- Verify pgbooking:0008.audit on pg
BEGIN;
select 'booking.audit_log'::regclass;
ROLLBACK;
