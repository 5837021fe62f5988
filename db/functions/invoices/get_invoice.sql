-- One invoice or credit note as a version says it (none given: the newest), for its student, its expert, or an administrator
-- (p_is_admin: the caller vouches for it). Amounts in minor units with `decimals` digits after the point, tax_rate in hundredths
-- of a percent, times UTC. status, latest_version and amount_credited are the present state, the rest never changes.
-- Locks: none. Errors: PT403 not_your_invoice · PT404 invoice_not_found, invoice_version_not_found.
create or replace function booking.get_invoice(
  p_user_id text,
  p_invoice_id uuid,
  p_version int default null,
  p_is_admin boolean default false
)
returns table (
  invoice_id uuid,
  kind booking.invoice_kind,
  number text,
  status booking.invoice_status,
  version int,
  latest_version int,
  payment_id uuid,
  booking_id uuid,
  credited_invoice_id uuid,
  credited_number text,
  credited_issued_at timestamptz,
  student_id text,
  expert_id text,
  currency text,
  decimals int,
  seller jsonb,
  buyer jsonb,
  line jsonb,
  tax_name text,
  tax_rate int,
  net bigint,
  tax bigint,
  gross bigint,
  amount_credited bigint,
  reason text,
  note text,
  issued_at timestamptz,
  version_created_at timestamptz
)
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set jit = off
as $$
#variable_conflict use_column
declare
  v_invoice booking.invoices;
begin
  select i.* into v_invoice from booking.invoices i where i.id = p_invoice_id;
  if not found then
    perform booking.refuse(404, 'invoice_not_found', jsonb_build_object('invoice_id', p_invoice_id), 'Check the invoice''s id.');
  elsif p_is_admin is not true and p_user_id is distinct from v_invoice.student_id and p_user_id is distinct from v_invoice.expert_id then
    perform booking.refuse(403, 'not_your_invoice', jsonb_build_object('invoice_id', p_invoice_id),
      'Only the student, the expert and administrators see an invoice.');
  end if;
  return query
    select v_invoice.id, v_invoice.kind, v_invoice.number, v_invoice.status, v.version, v_invoice.version, v_invoice.payment_id,
      v_invoice.booking_id, v_invoice.credited_invoice_id, c.number, c.issued_at, v_invoice.student_id, v_invoice.expert_id,
      v_invoice.currency::text, v_invoice.decimals::int, v.seller, v.buyer, v.line, v.tax_name, v.tax_rate, v.net, v.tax, v.gross,
      case v_invoice.kind when 'invoice' then (select coalesce(sum(n.gross), 0)::bigint from booking.invoices n
        where n.payment_id = v_invoice.payment_id and n.kind = 'credit_note') else 0 end,
      v.reason, v.note, v_invoice.issued_at, v.created_at
    from booking.invoice_versions v
    left join booking.invoices c on c.id = v_invoice.credited_invoice_id
    where v.invoice_id = v_invoice.id and v.version = coalesce(p_version, v_invoice.version);
  if not found then
    perform booking.refuse(404, 'invoice_version_not_found',
      jsonb_build_object('invoice_id', p_invoice_id, 'version', p_version, 'latest_version', v_invoice.version),
      'Versions begin at 1; leave it out for the newest one.');
  end if;
end
$$;

revoke all on function booking.get_invoice(text, uuid, int, boolean) from public;
grant execute on function booking.get_invoice(text, uuid, int, boolean) to booking_app, booking_dba;
comment on function booking.get_invoice(text, uuid, int, boolean) is
  'One invoice or credit note in a version, for its student, its expert or an administrator';
