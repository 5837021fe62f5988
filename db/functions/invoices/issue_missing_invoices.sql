-- Issues the invoices, and the credit notes, that are missing, oldest payments first, for at most p_limit payments in one
-- commit. Returns for how many payments. Payments that somebody works on right now are left to the next call.
-- All payments are locked before the first number is taken, and all invoices are written before the first credit note: whoever
-- waits for a series holds none that another waits for.
-- Locks: payments ascending, skipping locked ones -> invoice series.
-- Errors: PT400 invalid_request (DETAIL.field limit).
create or replace function booking.issue_missing_invoices(p_limit int default 1000)
returns int
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set jit = off
as $$
declare
  v_payments uuid[];
  v_id uuid;
begin
  if p_limit is null or p_limit not between 1 and 10000 then
    perform booking.refuse(400, 'invalid_request', '{"field": "limit"}', 'Issue the invoices of 1 to 10000 payments at once.');
  end if;
  select array_agg(l.id order by l.id) into v_payments
  from (
    select p.id
    from booking.payments p
    left join booking.invoices i on i.payment_id = p.id and i.kind = 'invoice'
    where p.amount_captured > 0
      and (i.id is null or i.gross < p.amount_captured
        or (p.amount_refunded > 0 or i.status <> 'issued') and p.amount_refunded <> (
          select coalesce(sum(n.gross), 0) from booking.invoices n where n.payment_id = p.id and n.kind = 'credit_note'))
    order by p.id limit p_limit
    for no key update of p skip locked) l;
  if v_payments is null then
    return 0;
  end if;
  foreach v_id in array v_payments loop
    perform booking.make_invoice(v_id);
  end loop;
  foreach v_id in array v_payments loop
    perform booking.keep_invoices(v_id);
  end loop;
  return cardinality(v_payments);
end
$$;

revoke all on function booking.issue_missing_invoices(int) from public;
grant execute on function booking.issue_missing_invoices(int) to booking_app, booking_cron, booking_dba;
comment on function booking.issue_missing_invoices(int) is 'Issues missing invoices and credit notes, a batch of payments; returns for how many';
