-- Verify pgbooking:0012.invoices on pg
BEGIN;
select 'booking.invoice_kind'::regtype;
select 'booking.invoice_status'::regtype;
select 'booking.invoice_series'::regclass;
select 'booking.invoices'::regclass;
select 'booking.invoice_versions'::regclass;
ROLLBACK;
