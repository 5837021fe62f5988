alter table booking.stripe_commands drop column if exists refund_request_id;
drop table booking.refund_requests cascade;
drop type booking.refund_request_status cascade;
