-- Writes a new invoice, or a credit note to the invoice p_credited, as its first version, under the next number of its series.
-- A credit note says what the invoice's newest version says of seller, buyer, line and tax. Amounts in minor units.
-- Internal: granted to nobody. Locks: the invoice series (the caller holds the payment). Errors: none.
create or replace function booking.write_invoice(
  p_payment booking.payments,
  p_credited booking.invoices,
  p_content booking.invoice_versions,
  p_gross bigint,
  p_tax bigint
)
returns booking.invoices
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_is_note boolean := p_credited.id is not null;
  v_series text;
  v_number record;
  v_invoice booking.invoices;
begin
  select case when v_is_note then c.credit_note_series else c.invoice_series end into v_series from booking.settings c;
  select n.year, n.serial, n.taken_at into v_number from booking.next_invoice_number(v_series) n;
  insert into booking.invoices as i (id, kind, series, year, serial, number, payment_id, booking_id, credited_invoice_id,
    student_id, expert_id, currency, decimals, gross, issued_at, created_at, updated_at)
  select booking.new_id(p_near => b.id), case when v_is_note then 'credit_note' else 'invoice' end::booking.invoice_kind,
    v_series, v_number.year, v_number.serial,
    format('%s-%s-%s', v_series, v_number.year, lpad(v_number.serial::text, greatest(6, length(v_number.serial::text)), '0')),
    p_payment.id, b.id, p_credited.id, b.student_id, b.expert_id, p_payment.currency,
    booking.currency_decimals(p_payment.currency), p_gross, v_number.taken_at, v_number.taken_at, v_number.taken_at
  from booking.bookings b where b.id = p_payment.booking_id
  returning i.* into v_invoice;
  insert into booking.invoice_versions (invoice_id, version, seller, buyer, line, tax_name, tax_rate, net, tax, gross, reason,
    created_at)
  values (v_invoice.id, 1, p_content.seller, p_content.buyer, p_content.line, p_content.tax_name, p_content.tax_rate,
    p_gross - p_tax, p_tax, p_gross, 'issued', v_number.taken_at);
  perform booking.audit(v_invoice.kind || '.issued', v_invoice.id::text, null,
    jsonb_build_object('payment_id', p_payment.id, 'number', v_invoice.number, 'gross', p_gross, 'currency', p_payment.currency));
  return v_invoice;
end
$$;

revoke all on function booking.write_invoice(booking.payments, booking.invoices, booking.invoice_versions, bigint, bigint) from public;
comment on function booking.write_invoice(booking.payments, booking.invoices, booking.invoice_versions, bigint, bigint) is
  'Internal: writes a new invoice or credit note under the next number';
