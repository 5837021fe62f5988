-- Applies events again whose effect could not be applied, the least tried first, so that a poisoned one holds nobody
-- back; after settings.webhook_max_attempts an event is left to a person. Returns how many succeeded.
-- An event whose booking somebody else works on is left to the next run: waiting with the locks of the events before it
-- would end in deadlocks, so it gives up long before one is looked for (lock_timeout).
-- Locks: one event row after the other, skipping locked ones, then as process_webhook_event. Errors: PT400 invalid_request.
create or replace function booking.retry_failed_webhooks(p_limit int default 100)
returns int
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
set lock_timeout = '10ms'
as $$
declare
  v_event record;
  v_count int := 0;
begin
  if p_limit is null or p_limit not between 1 and 10000 then
    perform booking.refuse(400, 'invalid_request', '{"field": "limit"}', 'Retry 1 to 10,000 events at once.');
  end if;
  for v_event in
    select w.stripe_event_id, w.payload from booking.webhook_events w, booking.settings s
    where w.status = 'failed' and w.attempts < s.webhook_max_attempts
    order by w.attempts, w.received_at
    limit p_limit
    for no key update of w skip locked
  loop
    begin
      if booking.process_webhook_event(v_event.payload) in ('processed', 'ignored') then
        v_count := v_count + 1;
      end if;
    exception when lock_not_available then
      continue;
    end;
  end loop;
  return v_count;
end
$$;

revoke all on function booking.retry_failed_webhooks(int) from public;
grant execute on function booking.retry_failed_webhooks(int) to booking_app, booking_cron, booking_dba;
comment on function booking.retry_failed_webhooks(int) is 'Applies failed Stripe events again; returns how many succeeded';
