-- Verify pgbooking:0005.webhooks on pg
BEGIN;
select 'booking.webhook_status'::regtype;
select 'booking.webhook_events'::regclass;
select 'booking.webhook_events_archive'::regclass;
ROLLBACK;
