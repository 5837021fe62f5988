-- Verify pgbooking:0006.statistics on pg
BEGIN;
select 'booking.stat_metric'::regtype;
select 'booking.stat_deltas'::regclass;
select 'booking.stat_hours'::regclass;
ROLLBACK;
