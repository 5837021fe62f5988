-- For how many payments issue_missing_invoices() has something to do. Reads every captured payment.
-- Locks: none. Errors: none.
create or replace function booking.count_missing_invoices()
returns bigint
language sql stable security definer
set search_path = pg_catalog, pg_temp
as $$
  select count(*)
  from booking.payments p
  left join booking.invoices i on i.payment_id = p.id and i.kind = 'invoice'
  where p.amount_captured > 0
    and (i.id is null or i.gross < p.amount_captured
      or (p.amount_refunded > 0 or i.status <> 'issued') and p.amount_refunded <> (
        select coalesce(sum(n.gross), 0) from booking.invoices n where n.payment_id = p.id and n.kind = 'credit_note'))
$$;

revoke all on function booking.count_missing_invoices() from public;
grant execute on function booking.count_missing_invoices() to booking_app, booking_cron, booking_dba;
comment on function booking.count_missing_invoices() is 'For how many payments an invoice or a credit note is missing';
