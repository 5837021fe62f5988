-- Everybody's refund requests for an administrator, newest first, a page at a time: p_after is the last id of the page
-- before. Amounts in minor units, times UTC. Locks: none. Errors: PT400 invalid_request (DETAIL.field status, limit).
create or replace function booking.list_refund_requests(
  p_status text default null,
  p_after uuid default null,
  p_limit int default 50
)
returns table (
  request_id uuid,
  booking_id uuid,
  payment_id uuid,
  student_id text,
  amount bigint,
  currency text,
  reason text,
  status booking.refund_request_status,
  decided_by text,
  decided_at timestamptz,
  note text,
  command_id uuid,
  beyond_policy boolean,
  created_at timestamptz,
  updated_at timestamptz
)
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
  v_status booking.refund_request_status;
begin
  v_status := booking.require_refund_request_page(p_status, p_limit);
  return query
    select q.id, q.booking_id, q.payment_id, q.student_id, q.amount, q.currency::text, q.reason, q.status, q.decided_by,
      q.decided_at, q.note, q.command_id, q.beyond_policy, q.created_at, q.updated_at
    from booking.refund_requests q
    where q.id < coalesce(p_after, 'ffffffff-ffff-ffff-ffff-ffffffffffff') and (v_status is null or q.status = v_status)
    order by q.id desc
    limit p_limit;
end
$$;

revoke all on function booking.list_refund_requests(text, uuid, int) from public;
grant execute on function booking.list_refund_requests(text, uuid, int) to booking_app, booking_dba;
comment on function booking.list_refund_requests(text, uuid, int) is
  'Refund requests for an administrator, newest first, a page at a time (p_after: last id of the page before)';
