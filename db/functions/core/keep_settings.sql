-- Trigger: an interval of the settings is so many hours, as they pass. A day of an interval is a calendar day of the session's
-- time zone: it has 23 or 25 hours when the clocks change, and other sessions come to other times. '1 day' becomes '24 hours'.
-- Locks: none. Errors: none.
create or replace function booking.keep_settings()
returns trigger
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  new.booking_timeout := extract(epoch from new.booking_timeout) * interval '1 second';
  new.idempotency_ttl := extract(epoch from new.idempotency_ttl) * interval '1 second';
  new.command_backoff := extract(epoch from new.command_backoff) * interval '1 second';
  new.command_backoff_cap := extract(epoch from new.command_backoff_cap) * interval '1 second';
  new.checkout_lock_ttl := extract(epoch from new.checkout_lock_ttl) * interval '1 second';
  return new;
end
$$;

revoke all on function booking.keep_settings() from public;
comment on function booking.keep_settings() is 'Trigger: intervals of the settings are hours as they pass, not days of a calendar';

create or replace trigger keep_settings before insert or update on booking.settings
  for each row execute function booking.keep_settings();
