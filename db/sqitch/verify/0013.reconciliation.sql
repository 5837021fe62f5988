-- Verify pgbooking:0013.reconciliation on pg
BEGIN;
select 'booking.reconciliation_status'::regtype;
select 'booking.reconciliation_runs'::regclass;
select 'booking.reconciliation_items'::regclass;
select 'booking.reconciliation_differences'::regclass;
ROLLBACK;
