-- Who did what with money, bookings or as an administrator: the audit log and the decisions on bookings, oldest first.
-- p_from (inclusive) and p_to (exclusive) are instants; p_subject is the id of anything: the id of a booking or of a payment finds
-- everything that belongs to it. A null filter does not filter.
-- Locks: none. Errors: PT400 invalid_request (DETAIL.field to).
create or replace function booking.audit_trail(
  p_from timestamptz default null,
  p_to timestamptz default null,
  p_actor text default null,
  p_subject text default null
)
returns table (created_at timestamptz, actor text, action text, subject text, request_id text, detail jsonb)
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
  v_id uuid := case when p_subject ~* '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' then p_subject::uuid end;
  v_payments uuid[];
  v_bookings uuid[];
  v_subjects text[];
begin
  if p_to <= p_from then
    perform booking.refuse(400, 'invalid_request', '{"field": "to"}', 'A window ends after it begins.');
  end if;
  select coalesce(array_agg(b.payment_id), '{}') || v_id into v_payments from booking.bookings b where b.id = v_id;
  select array_agg(b.id) || v_id into v_bookings from booking.bookings b
  where b.id in (select p.booking_id from booking.payments p where p.id = v_id);
  v_subjects := array[p_subject] || v_payments::text[];
  return query
    select x.created_at, x.actor, x.action, x.subject, x.request_id, x.detail
    from (
      select a.created_at, a.actor, a.action, a.subject, a.request_id, a.detail, 2 as source, a.id
      from booking.audit_log a
      where (p_from is null or a.created_at >= p_from) and (p_to is null or a.created_at < p_to)
        and (p_actor is null or a.actor = p_actor)
        and (p_subject is null or a.subject = any (v_subjects) or a.payment_id = any (v_payments))
      union all
      select e.created_at, e.actor, 'booking.' || e.to_status, e.booking_id::text, e.request_id,
        jsonb_strip_nulls(jsonb_build_object('from', e.from_status, 'reason', e.reason)), 1, e.id
      from booking.booking_events e
      where (p_from is null or e.created_at >= p_from) and (p_to is null or e.created_at < p_to)
        and (p_actor is null or e.actor = p_actor)
        and (p_subject is null or e.booking_id = any (v_bookings))
    ) x
    order by x.created_at, x.source, x.id;
end
$$;

revoke all on function booking.audit_trail(timestamptz, timestamptz, text, text) from public;
grant execute on function booking.audit_trail(timestamptz, timestamptz, text, text) to booking_dba;
comment on function booking.audit_trail(timestamptz, timestamptz, text, text) is
  'Who did what with money, bookings or as an administrator, oldest first; amounts in minor units, times UTC';
