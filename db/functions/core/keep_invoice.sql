-- Trigger: an invoice's number, what it is for and whom it concerns never change; its version only grows by one; a credit
-- note that is void stays void; updated_at is kept.
--   invoice: issued <-> partially_credited <-> credited, issued <-> credited;  credit note: issued -> void
-- Locks: none beyond the row. Errors: PT409 illegal_transition, PT409 append_only (a fact of issuing was changed).
create or replace function booking.keep_invoice()
returns trigger
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  if new.status <> old.status and old.status = 'void' then
    perform booking.refuse(409, 'illegal_transition',
      jsonb_build_object('invoice_id', old.id, 'from', old.status, 'to', new.status),
      'A credit note that is void stays void; a new refund makes a new one.');
  end if;
  if (new.id, new.kind, new.series, new.year, new.serial, new.number, new.payment_id, new.booking_id, new.credited_invoice_id,
      new.student_id, new.expert_id, new.currency, new.decimals, new.issued_at)
    is distinct from
     (old.id, old.kind, old.series, old.year, old.serial, old.number, old.payment_id, old.booking_id, old.credited_invoice_id,
      old.student_id, old.expert_id, old.currency, old.decimals, old.issued_at)
    or new.version not in (old.version, old.version + 1)
    or new.gross <> old.gross and new.version = old.version
  then
    perform booking.refuse(409, 'append_only', jsonb_build_object('table', 'invoices', 'invoice_id', old.id),
      'An invoice is corrected by a new version; its number and what it is for stay.');
  end if;
  new.updated_at := booking.clock();
  return new;
end
$$;

revoke all on function booking.keep_invoice() from public;
comment on function booking.keep_invoice() is 'Trigger: an invoice''s facts stay, its version only grows';

create or replace trigger keep_invoice before update on booking.invoices
  for each row execute function booking.keep_invoice();
