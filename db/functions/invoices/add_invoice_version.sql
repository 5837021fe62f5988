-- Adds a version to an invoice or credit note: as the newest one, but with this buyer and these amounts (minor units). A credit
-- note whose amount comes to nothing is void. Returns the invoice as it is then.
-- Internal: granted to nobody. Locks: the invoice (the caller holds the payment). Errors: none.
create or replace function booking.add_invoice_version(
  p_invoice booking.invoices,
  p_buyer jsonb,
  p_gross bigint,
  p_tax bigint,
  p_reason text,
  p_note text default null,
  p_actor text default null
)
returns booking.invoices
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_invoice booking.invoices;
begin
  insert into booking.invoice_versions (invoice_id, version, seller, buyer, line, tax_name, tax_rate, net, tax, gross, reason, note,
    created_at)
  select v.invoice_id, v.version + 1, v.seller, p_buyer, v.line, v.tax_name, v.tax_rate, p_gross - p_tax, p_tax, p_gross, p_reason,
    p_note, booking.clock()
  from booking.invoice_versions v where v.invoice_id = p_invoice.id and v.version = p_invoice.version;
  update booking.invoices i
  set version = i.version + 1, gross = p_gross, status = case when p_gross = 0 then 'void' else i.status end
  where i.id = p_invoice.id
  returning i.* into v_invoice;
  perform booking.audit(v_invoice.kind || case when p_gross = 0 then '.voided' else '.corrected' end, v_invoice.id::text, p_actor,
    jsonb_build_object('payment_id', v_invoice.payment_id, 'number', v_invoice.number, 'version', v_invoice.version,
      'reason', p_reason, 'gross', p_gross, 'currency', v_invoice.currency));
  return v_invoice;
end
$$;

revoke all on function booking.add_invoice_version(booking.invoices, jsonb, bigint, bigint, text, text, text) from public;
comment on function booking.add_invoice_version(booking.invoices, jsonb, bigint, bigint, text, text, text) is
  'Internal: adds a version to an invoice or credit note; the old one stays';
