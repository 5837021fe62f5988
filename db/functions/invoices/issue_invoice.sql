-- Issues the invoice of a captured payment; again: the same one, in its newest version. What was refunded already gets its
-- credit note at once. Numbers run without gaps per series and UTC year.
-- Locks: payment -> invoice series.
-- Errors: PT404 payment_not_found · PT409 payment_not_captured.
create or replace function booking.issue_invoice(p_payment_id uuid)
returns table (invoice_id uuid, number text, version int)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set jit = off
as $$
#variable_conflict use_column
declare
  v_payment booking.payments;
begin
  select p.* into v_payment from booking.payments p where p.id = p_payment_id for no key update;
  if not found then
    perform booking.refuse(404, 'payment_not_found', jsonb_build_object('payment_id', p_payment_id), 'Check the payment''s id.');
  elsif v_payment.amount_captured = 0 then
    perform booking.refuse(409, 'payment_not_captured',
      jsonb_build_object('payment_id', p_payment_id, 'payment_status', v_payment.status),
      'An invoice is for money that was captured.');
  end if;
  perform booking.make_invoice(p_payment_id);
  perform booking.keep_invoices(p_payment_id);
  return query
    select i.id, i.number, i.version from booking.invoices i where i.payment_id = p_payment_id and i.kind = 'invoice';
end
$$;

revoke all on function booking.issue_invoice(uuid) from public;
grant execute on function booking.issue_invoice(uuid) to booking_app, booking_dba;
comment on function booking.issue_invoice(uuid) is 'Issues the invoice of a captured payment; again: the same one';
