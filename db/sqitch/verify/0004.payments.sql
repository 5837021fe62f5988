-- Verify pgbooking:0004.payments on pg
BEGIN;
select 'booking.payment_status'::regtype;
select 'booking.refund_status'::regtype;
select 'booking.command_status'::regtype;
select 'booking.command_outcome'::regtype;
select 'booking.payments'::regclass;
select 'booking.refunds'::regclass;
select 'booking.disputes'::regclass;
select 'booking.transfers'::regclass;
select 'booking.stripe_commands'::regclass;
select 'booking.alerts'::regclass;
ROLLBACK;
