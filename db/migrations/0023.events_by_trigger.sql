set local role booking_owner;

-- A trigger has this rule, as in 0019, from now on and not only when the functions are loaded. The constraint first: its lock is
-- the stronger one, and nobody waits for us who holds the weaker one.
alter table booking.webhook_events drop constraint webhook_events_stripe_event_id_check;

create or replace function booking.keep_webhook_event()
returns trigger
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  if new.stripe_event_id = '' or length(new.stripe_event_id) > 255 then
    raise exception using errcode = 'check_violation', schema = 'booking', table = 'webhook_events',
      constraint = 'webhook_events_stripe_event_id_check',
      message = 'new row for relation "webhook_events" violates check constraint "webhook_events_stripe_event_id_check"',
      detail = format('Failing row contains id %s, type %s.', new.stripe_event_id, new.event_type);
  end if;
  return new;
end
$$;

revoke all on function booking.keep_webhook_event() from public;

create or replace trigger keep_webhook_event before insert or update of stripe_event_id on booking.webhook_events
  for each row execute function booking.keep_webhook_event();

reset role;
