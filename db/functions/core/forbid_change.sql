-- Trigger: what must stay, stays. The audit trail and the ledger only grow; bookings, slots, payments and refunds
-- are never deleted (which is why children without a foreign key cannot be orphaned).
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
create or replace trigger forbid_delete before delete on booking.bookings
  for each row execute function booking.forbid_change();
create or replace trigger forbid_delete before delete on booking.slots
  for each row execute function booking.forbid_change();
create or replace trigger forbid_delete before delete on booking.payments
  for each row execute function booking.forbid_change();
create or replace trigger forbid_delete before delete on booking.refunds
  for each row execute function booking.forbid_change();
create or replace trigger forbid_truncate before truncate on booking.booking_events
  for each statement execute function booking.forbid_change();
create or replace trigger forbid_truncate before truncate on booking.transfers
  for each statement execute function booking.forbid_change();
create or replace trigger forbid_truncate before truncate on booking.bookings
  for each statement execute function booking.forbid_change();
create or replace trigger forbid_truncate before truncate on booking.slots
  for each statement execute function booking.forbid_change();
create or replace trigger forbid_truncate before truncate on booking.payments
  for each statement execute function booking.forbid_change();
create or replace trigger forbid_truncate before truncate on booking.refunds
  for each statement execute function booking.forbid_change();
