-- Whether an event of Stripe was dealt with for good (processed or ignored; one that failed was not).
-- Locks: none. Errors: none.
create or replace function booking.is_webhook_processed(p_event_id text)
returns boolean
language sql stable security definer
set search_path = pg_catalog, pg_temp
as $$
  select exists (select from booking.webhook_events w where w.stripe_event_id = p_event_id and w.status <> 'failed')
      or exists (select from booking.webhook_events_archive a where a.stripe_event_id = p_event_id)
$$;

revoke all on function booking.is_webhook_processed(text) from public;
grant execute on function booking.is_webhook_processed(text) to booking_app;
comment on function booking.is_webhook_processed(text) is 'Whether a Stripe event was dealt with for good';
