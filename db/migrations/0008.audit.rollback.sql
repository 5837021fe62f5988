drop function if exists booking.audit_status() cascade;
drop function if exists booking.audit_settings() cascade;
drop index booking.booking_events_by_time;
alter table booking.stripe_commands drop column request_id;
alter table booking.booking_events drop column request_id;
drop table booking.audit_log cascade;
