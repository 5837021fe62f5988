-- Brings a payment's invoice and credit notes in line with what was captured and refunded; nothing to do without an invoice.
--   captured more than invoiced: a new version of the invoice
--   refunded more than credited: a credit note of the difference
--   refunded less than credited (a refund failed): a new version with less, or void, of the newest credit note of just that
--     amount, else of the newest ones
-- Credit notes have the tax rate of the invoice, and together the tax that their sum contains: of an invoice that is credited
-- whole, nothing of net or tax is left over by rounding.
-- Internal: granted to nobody. Locks: the invoice series, after everything else (the caller holds the payment). Whoever holds a
-- series goes on to rows of the same payment only, so nobody waits in a circle. Errors: none.
create or replace function booking.keep_invoices(p_payment_id uuid)
returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_invoice booking.invoices;
  v_payment booking.payments;
  v_content booking.invoice_versions;
  v_note booking.invoices;
  v_credited bigint;
  v_tax bigint;
  v_note_tax bigint;
  v_note_buyer jsonb;
  v_gross bigint;
  v_status booking.invoice_status;
begin
  select i.* into v_invoice from booking.invoices i where i.payment_id = p_payment_id and i.kind = 'invoice';
  if not found then
    return;
  end if;
  select p.* into v_payment from booking.payments p where p.id = p_payment_id;
  select v.* into v_content from booking.invoice_versions v where v.invoice_id = v_invoice.id and v.version = v_invoice.version;

  if v_payment.amount_captured > v_invoice.gross then
    v_invoice := booking.add_invoice_version(v_invoice, v_content.buyer, v_payment.amount_captured,
      booking.included_tax(v_payment.amount_captured, v_content.tax_rate, v_payment.currency), 'captured_more');
  end if;

  select coalesce(sum(v.gross), 0), coalesce(sum(v.tax), 0) into v_credited, v_tax
  from booking.invoices n join booking.invoice_versions v on v.invoice_id = n.id and v.version = n.version
  where n.payment_id = p_payment_id and n.kind = 'credit_note';

  if v_credited < v_payment.amount_refunded then
    v_gross := v_payment.amount_refunded - v_credited;
    perform booking.write_invoice(v_payment, v_invoice, v_content, v_gross,
      greatest(0, least(v_gross, booking.included_tax(v_payment.amount_refunded, v_content.tax_rate, v_payment.currency) - v_tax)));
  end if;

  while v_credited > v_payment.amount_refunded loop
    select n.* into v_note from booking.invoices n
    where n.payment_id = p_payment_id and n.kind = 'credit_note' and n.gross > 0
    order by n.gross = v_credited - v_payment.amount_refunded desc, n.issued_at desc, n.serial desc limit 1;
    select v.tax, v.buyer into v_note_tax, v_note_buyer
    from booking.invoice_versions v where v.invoice_id = v_note.id and v.version = v_note.version;
    v_gross := greatest(0, v_note.gross - (v_credited - v_payment.amount_refunded));
    v_credited := v_credited - v_note.gross + v_gross;
    v_tax := v_tax - v_note_tax;
    v_note_tax := greatest(0, least(v_gross, booking.included_tax(v_credited, v_content.tax_rate, v_payment.currency) - v_tax));
    v_tax := v_tax + v_note_tax;
    perform booking.add_invoice_version(v_note, v_note_buyer, v_gross, v_note_tax, 'refund_failed');
  end loop;

  v_status := case when v_payment.amount_refunded = 0 then 'issued' when v_payment.amount_refunded < v_invoice.gross
                   then 'partially_credited' else 'credited' end::booking.invoice_status;
  update booking.invoices i set status = v_status where i.id = v_invoice.id and i.status <> v_status;
end
$$;

revoke all on function booking.keep_invoices(uuid) from public;
comment on function booking.keep_invoices(uuid) is
  'Internal: brings a payment''s invoice and credit notes in line with what was captured and refunded';
