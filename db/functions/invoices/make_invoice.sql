-- Makes the invoice of a captured payment unless there is one. The seller and the tax are those of the settings now; the buyer's
-- name, address and tax id are taken from bookings.details -> 'billing' where they are there, else the name is the student's id.
-- Internal: granted to nobody. Locks: the invoice series (the caller holds the payment). Errors: none.
create or replace function booking.make_invoice(p_payment_id uuid)
returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_payment booking.payments;
  v_content booking.invoice_versions;
begin
  perform from booking.invoices i where i.payment_id = p_payment_id and i.kind = 'invoice';
  if found then
    return;
  end if;
  select p.* into v_payment from booking.payments p where p.id = p_payment_id;
  select jsonb_build_object('name', c.seller_name, 'address', c.seller_address, 'tax_id', c.seller_tax_id),
    jsonb_build_object('id', b.student_id, 'name', coalesce(f.name, b.student_id), 'address', f.address, 'tax_id', f.tax_id),
    jsonb_build_object('title', s.title, 'expert_id', b.expert_id,
      'starts_at', to_char(b.scheduled_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'),
      'ends_at', to_char(b.ends_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')),
    c.tax_name, c.tax_rate
  into v_content.seller, v_content.buyer, v_content.line, v_content.tax_name, v_content.tax_rate
  from booking.settings c
  cross join booking.bookings b
  join booking.sessions s on s.id = b.session_id
  cross join lateral (
    select nullif(left(trim(b.details #>> '{billing,name}'), 200), '') as name,
      nullif(left(trim(b.details #>> '{billing,address}'), 1000), '') as address,
      nullif(left(trim(b.details #>> '{billing,tax_id}'), 50), '') as tax_id) f
  where b.id = v_payment.booking_id;
  perform booking.write_invoice(v_payment, null, v_content, v_payment.amount_captured,
    booking.included_tax(v_payment.amount_captured, v_content.tax_rate, v_payment.currency));
end
$$;

revoke all on function booking.make_invoice(uuid) from public;
comment on function booking.make_invoice(uuid) is 'Internal: makes the invoice of a captured payment unless there is one';
