-- Verify pgbooking:0002.settings_and_catalogue on pg
BEGIN;
select 'booking.deployed_functions'::regclass;
select 'booking.settings'::regclass;
select 'booking.refund_policies'::regclass;
select 'booking.confirmation_mode'::regtype;
select 'booking.experts'::regclass;
select 'booking.sessions'::regclass;
select 'booking.slots'::regclass;
select 'booking.slot_seats'::regclass;
ROLLBACK;
