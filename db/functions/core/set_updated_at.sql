-- Trigger: updated_at is the database's. Locks: none beyond the row. Errors: none.
create or replace function booking.set_updated_at()
returns trigger
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  new.updated_at := booking.clock();
  return new;
end
$$;

revoke all on function booking.set_updated_at() from public;
comment on function booking.set_updated_at() is 'Trigger: keeps updated_at';

create or replace trigger set_updated_at before update on booking.sessions
  for each row execute function booking.set_updated_at();
create or replace trigger set_updated_at before update on booking.slots
  for each row execute function booking.set_updated_at();
create or replace trigger set_updated_at before update on booking.refunds
  for each row execute function booking.set_updated_at();
create or replace trigger set_updated_at before update on booking.disputes
  for each row execute function booking.set_updated_at();
create or replace trigger set_updated_at before update on booking.webhook_events
  for each row execute function booking.set_updated_at();
create or replace trigger set_updated_at before update on booking.reconciliation_runs
  for each row execute function booking.set_updated_at();
create or replace trigger set_updated_at before update on booking.products
  for each row execute function booking.set_updated_at();
