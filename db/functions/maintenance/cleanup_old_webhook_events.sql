-- Moves events that were dealt with to the archive once they are p_active old, and deletes archived ones p_archive old
-- (both since they were received). Failed ones stay until they succeed. Returns how many of each.
-- What it did is in the audit log (retention.webhook_events).
-- Locks: event rows, skipping locked ones. Errors: PT400 invalid_request (DETAIL.field active, archive).
create or replace function booking.cleanup_old_webhook_events(p_active interval default '7 days', p_archive interval default '30 days')
returns table (archived int, deleted int)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set jit = off
as $$
#variable_conflict use_column
declare
  v_now timestamptz := booking.clock();
begin
  if p_active is null or p_active < interval '0' then
    perform booking.refuse(400, 'invalid_request', '{"field": "active"}', 'The active time is not negative.');
  end if;
  if p_archive is null or p_archive < p_active then
    perform booking.refuse(400, 'invalid_request', '{"field": "archive"}', 'The archive keeps events at least as long as they are active.');
  end if;
  with moved as (
    delete from booking.webhook_events w
    where w.stripe_event_id in (
      select d.stripe_event_id from booking.webhook_events d
      where d.received_at <= v_now - p_active and d.status <> 'failed'
      order by d.received_at limit 10000
      for update skip locked)
    returning w.*
  )
  insert into booking.webhook_events_archive (stripe_event_id, event_type, status, payload, attempts, error, received_at, updated_at)
  select m.stripe_event_id, m.event_type, m.status, m.payload, m.attempts, m.error, m.received_at, m.updated_at from moved m
  on conflict (stripe_event_id) do nothing;
  get diagnostics archived = row_count;
  delete from booking.webhook_events_archive a
  where a.stripe_event_id in (
    select d.stripe_event_id from booking.webhook_events_archive d
    where d.received_at <= v_now - p_archive
    order by d.received_at limit 10000
    for update skip locked);
  get diagnostics deleted = row_count;
  if archived + deleted > 0 then
    perform booking.audit('retention.webhook_events', 'webhook_events', null, jsonb_build_object('archived', archived,
      'received_until', v_now - p_active, 'deleted', deleted, 'deleted_until', v_now - p_archive));
  end if;
  return next;
end
$$;

revoke all on function booking.cleanup_old_webhook_events(interval, interval) from public;
grant execute on function booking.cleanup_old_webhook_events(interval, interval) to booking_cron;
comment on function booking.cleanup_old_webhook_events(interval, interval) is
  'Archives, then deletes old Stripe events, at most 10,000 of each a call; returns how many of each';
