-- Corrects what an invoice or credit note says of the buyer, as a new version; the old one stays. p_changes holds name, address
-- or tax_id (null takes the latter two away); amounts follow the payment and are not corrected by hand. p_reason, 1 to 500
-- characters, is printed. When nothing would change the newest version is returned, so that a repeated call is harmless.
-- Locks: the payment.
-- Errors: PT400 invalid_request (DETAIL.field actor_id, changes, reason) · PT404 invoice_not_found.
create or replace function booking.correct_invoice(p_actor_id text, p_invoice_id uuid, p_changes jsonb, p_reason text)
returns table (invoice_id uuid, number text, version int)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set jit = off
as $$
#variable_conflict use_column
declare
  v_lengths constant jsonb := '{"name": 200, "address": 1000, "tax_id": 50}'::jsonb;
  v_is_wrong boolean;
  v_invoice booking.invoices;
  v_content booking.invoice_versions;
begin
  perform booking.require_person('actor_id', p_actor_id);
  if p_changes is null or jsonb_typeof(p_changes) <> 'object' or p_changes = '{}' then
    v_is_wrong := true;
  else
    select bool_or(not v_lengths ? c.key
      or case jsonb_typeof(c.value) when 'string' then length(trim(c.value #>> '{}')) not between 1 and (v_lengths ->> c.key)::int
                                    when 'null' then c.key = 'name' else true end)
    into v_is_wrong from jsonb_each(p_changes) c;
  end if;
  if v_is_wrong then
    perform booking.refuse(400, 'invalid_request', '{"field": "changes"}',
      'Give the buyer''s name (200 characters), address (1000) or tax_id (50); null takes the address or the tax id away.');
  end if;
  if p_reason is null or length(trim(p_reason)) not between 1 and 500 then
    perform booking.refuse(400, 'invalid_request', '{"field": "reason"}', 'Say why, in 1 to 500 characters.');
  end if;

  perform from booking.payments p
  where p.id = (select i.payment_id from booking.invoices i where i.id = p_invoice_id)
  for no key update;
  if not found then
    perform booking.refuse(404, 'invoice_not_found', jsonb_build_object('invoice_id', p_invoice_id), 'Check the invoice''s id.');
  end if;
  select i.* into v_invoice from booking.invoices i where i.id = p_invoice_id;
  select v.* into v_content from booking.invoice_versions v where v.invoice_id = v_invoice.id and v.version = v_invoice.version;
  select v_content.buyer || jsonb_object_agg(c.key, trim(c.value #>> '{}')) into v_content.buyer from jsonb_each(p_changes) c;

  perform from booking.invoice_versions v
  where v.invoice_id = v_invoice.id and v.version = v_invoice.version and v.buyer = v_content.buyer;
  if not found then
    v_invoice := booking.add_invoice_version(v_invoice, v_content.buyer, v_content.gross, v_content.tax, 'corrected',
      trim(p_reason), p_actor_id);
  end if;
  return query select v_invoice.id, v_invoice.number, v_invoice.version;
end
$$;

revoke all on function booking.correct_invoice(text, uuid, jsonb, text) from public;
grant execute on function booking.correct_invoice(text, uuid, jsonb, text) to booking_app, booking_dba;
comment on function booking.correct_invoice(text, uuid, jsonb, text) is 'Corrects the buyer of an invoice as a new version; the old one stays';
