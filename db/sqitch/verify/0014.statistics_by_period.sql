-- Verify pgbooking:0014.statistics_by_period on pg
BEGIN;
select 'booking.stat_period'::regtype;
select 'booking.stat_periods'::regclass;
ROLLBACK;
