-- One refund request with the state of its payment, for an administrator (or a server that has just decided it).
-- Amounts in minor units, times UTC. Locks: none. Errors: PT404 refund_request_not_found.
create or replace function booking.get_refund_request(p_request_id uuid)
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
  payment_status booking.payment_status,
  amount_captured bigint,
  amount_refunded bigint,
  created_at timestamptz,
  updated_at timestamptz
)
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set jit = off
as $$
#variable_conflict use_column
begin
  return query
    select q.id, q.booking_id, q.payment_id, q.student_id, q.amount, q.currency::text, q.reason, q.status, q.decided_by,
      q.decided_at, q.note, q.command_id, q.beyond_policy, p.status, p.amount_captured, p.amount_refunded, q.created_at, q.updated_at
    from booking.refund_requests q join booking.payments p on p.id = q.payment_id
    where q.id = p_request_id;
  if not found then
    perform booking.refuse(404, 'refund_request_not_found', jsonb_build_object('request_id', p_request_id),
      'Check the request''s id.');
  end if;
end
$$;

revoke all on function booking.get_refund_request(uuid) from public;
grant execute on function booking.get_refund_request(uuid) to booking_app;
comment on function booking.get_refund_request(uuid) is 'One refund request with the state of its payment, for an administrator';
