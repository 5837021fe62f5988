-- Verify pgbooking:0010.checkout on pg
BEGIN;
select 'booking.order_status'::regtype;
select 'booking.products'::regclass;
select 'booking.orders'::regclass;
select 'booking.concurrency_locks'::regclass;
select 'booking.checkout_events'::regclass;
ROLLBACK;
