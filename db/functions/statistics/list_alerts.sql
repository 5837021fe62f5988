-- What a person must look at, oldest first; with p_all also what was resolved. Kinds: docs/operations.md.
-- Locks: none. Errors: none.
create or replace function booking.list_alerts(p_all boolean default false)
returns table (alert_id bigint, kind text, subject text, detail jsonb, times int, first_at timestamptz, last_at timestamptz,
  resolved_at timestamptz, resolved_by text)
language sql stable security definer
set search_path = pg_catalog, pg_temp
as $$
  select a.id, a.kind, a.subject, a.detail, a.times, a.first_at, a.last_at, a.resolved_at, a.resolved_by
  from booking.alerts a
  where p_all or a.resolved_at is null
  order by a.id
$$;

revoke all on function booking.list_alerts(boolean) from public;
grant execute on function booking.list_alerts(boolean) to booking_dba;
comment on function booking.list_alerts(boolean) is 'What a person must look at, oldest first';
