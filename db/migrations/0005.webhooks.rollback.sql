drop table booking.webhook_events_archive, booking.webhook_events cascade;
drop type booking.webhook_status cascade;
