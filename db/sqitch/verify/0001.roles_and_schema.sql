-- Verify pgbooking:0001.roles_and_schema on pg
BEGIN;
select 'booking'::regnamespace;
ROLLBACK;
