-- Verify pgbooking:0011.refund_requests on pg
BEGIN;
select 'booking.refund_request_status'::regtype;
select 'booking.refund_requests'::regclass;
ROLLBACK;
