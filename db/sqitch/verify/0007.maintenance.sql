-- Verify pgbooking:0007.maintenance on pg
BEGIN;
select 'booking.maintenance_runs'::regclass;
ROLLBACK;
