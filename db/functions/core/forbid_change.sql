-- Trigger: what must stay, stays. The audit trail and log and the ledger only grow; bookings, slots, payments, refunds,
-- products and orders are never deleted (which is why children without a foreign key cannot be orphaned).
-- Locks: none. Errors: PT409 append_only.
create or replace function booking.forbid_change()
returns trigger
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  perform booking.refuse(409, 'append_only',
    jsonb_build_object('table', tg_table_name, 'operation', lower(tg_op)),
    'Rows of this table are kept for good.');
  return null;
end
$$;

revoke all on function booking.forbid_change() from public;
comment on function booking.forbid_change() is 'Trigger: refuses to change or delete what must stay';

create or replace trigger forbid_change before update or delete on booking.booking_events
  for each row execute function booking.forbid_change();
create or replace trigger forbid_change before update or delete on booking.transfers
  for each row execute function booking.forbid_change();
create or replace trigger forbid_change before update or delete on booking.audit_log
  for each row execute function booking.forbid_change();
create or replace trigger forbid_change before update or delete on booking.reconciliation_differences
  for each row execute function booking.forbid_change();
create or replace trigger forbid_delete before delete on booking.reconciliation_runs
  for each row execute function booking.forbid_change();
create or replace trigger forbid_delete before delete on booking.bookings
  for each row execute function booking.forbid_change();
create or replace trigger forbid_delete before delete on booking.slots
  for each row execute function booking.forbid_change();
create or replace trigger forbid_delete before delete on booking.payments
  for each row execute function booking.forbid_change();
create or replace trigger forbid_delete before delete on booking.refunds
  for each row execute function booking.forbid_change();
create or replace trigger forbid_delete before delete on booking.refund_requests
  for each row execute function booking.forbid_change();
create or replace trigger forbid_truncate before truncate on booking.booking_events
  for each statement execute function booking.forbid_change();
create or replace trigger forbid_truncate before truncate on booking.transfers
  for each statement execute function booking.forbid_change();
create or replace trigger forbid_truncate before truncate on booking.audit_log
  for each statement execute function booking.forbid_change();
create or replace trigger forbid_truncate before truncate on booking.bookings
  for each statement execute function booking.forbid_change();
create or replace trigger forbid_truncate before truncate on booking.slots
  for each statement execute function booking.forbid_change();
create or replace trigger forbid_truncate before truncate on booking.payments
  for each statement execute function booking.forbid_change();
create or replace trigger forbid_truncate before truncate on booking.refund_requests
  for each statement execute function booking.forbid_change();
create or replace trigger forbid_truncate before truncate on booking.refunds
  for each statement execute function booking.forbid_change();
create or replace trigger forbid_truncate before truncate on booking.reconciliation_differences
  for each statement execute function booking.forbid_change();
create or replace trigger forbid_truncate before truncate on booking.reconciliation_runs
  for each statement execute function booking.forbid_change();
create or replace trigger forbid_delete before delete on booking.products
  for each row execute function booking.forbid_change();
create or replace trigger forbid_delete before delete on booking.orders
  for each row execute function booking.forbid_change();
create or replace trigger forbid_truncate before truncate on booking.products
  for each statement execute function booking.forbid_change();
create or replace trigger forbid_truncate before truncate on booking.orders
  for each statement execute function booking.forbid_change();
create or replace trigger forbid_change before update or delete on booking.invoice_versions
  for each row execute function booking.forbid_change();
create or replace trigger forbid_delete before delete on booking.invoices
  for each row execute function booking.forbid_change();
create or replace trigger forbid_delete before delete on booking.invoice_series
  for each row execute function booking.forbid_change();
create or replace trigger forbid_truncate before truncate on booking.invoice_versions
  for each statement execute function booking.forbid_change();
create or replace trigger forbid_truncate before truncate on booking.invoices
  for each statement execute function booking.forbid_change();
create or replace trigger forbid_truncate before truncate on booking.invoice_series
  for each statement execute function booking.forbid_change();
