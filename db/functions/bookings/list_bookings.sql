-- A person's bookings, as student or as expert, newest first, a page at a time: p_after is the last id of the page
-- before. Columns as in get_booking. Amounts in minor units, times UTC.
-- Locks: none. Errors: PT400 invalid_request (DETAIL.field user_id, status, limit).
create or replace function booking.list_bookings(
  p_user_id text,
  p_status text default null,
  p_after uuid default null,
  p_limit int default 50
)
returns table (
  booking_id uuid,
  status booking.booking_status,
  slot_id uuid,
  session_id uuid,
  student_id text,
  expert_id text,
  scheduled_at timestamptz,
  ends_at timestamptz,
  expires_at timestamptz,
  amount bigint,
  currency text,
  payment_id uuid,
  payment_status booking.payment_status,
  amount_captured bigint,
  amount_refunded bigint,
  cancelled_by text,
  cancellation_reason text,
  refund_percent int,
  details jsonb,
  created_at timestamptz,
  updated_at timestamptz
)
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
  v_status booking.booking_status;
  v_before uuid := coalesce(p_after, 'ffffffff-ffff-ffff-ffff-ffffffffffff');
begin
  perform booking.require_person('user_id', p_user_id);
  if p_status is not null then
    if not p_status = any (enum_range(null::booking.booking_status)::text[]) then
      perform booking.refuse(400, 'invalid_request',
        jsonb_build_object('field', 'status', 'allowed', enum_range(null::booking.booking_status)),
        'Give one of the statuses of a booking.');
    end if;
    v_status := p_status::booking.booking_status;
  end if;
  if p_limit is null or p_limit not between 1 and 200 then
    perform booking.refuse(400, 'invalid_request', '{"field": "limit"}', 'A page has 1 to 200 bookings.');
  end if;

  -- two index scans that stop after a page each; the booking of a person with himself is listed once
  return query
    select b.id, b.status, b.slot_id, b.session_id, b.student_id, b.expert_id, b.scheduled_at, b.ends_at,
      case when b.status = 'pending' then b.created_at + c.booking_timeout end,
      b.amount, b.currency::text, b.payment_id,
      coalesce(p.status, case when b.closed_at is null then 'pending' else 'cancelled' end::booking.payment_status),
      coalesce(p.amount_captured, 0), coalesce(p.amount_refunded, 0),
      b.cancelled_by, b.cancellation_reason, b.refund_percent::int, b.details, b.created_at, b.updated_at
    from (
      (select s.* from booking.bookings s
       where s.student_id = p_user_id and s.id < v_before and (v_status is null or s.status = v_status)
       order by s.id desc limit p_limit)
      union all
      (select e.* from booking.bookings e
       where e.expert_id = p_user_id and e.student_id <> p_user_id and e.id < v_before
         and (v_status is null or e.status = v_status)
       order by e.id desc limit p_limit)
      order by id desc limit p_limit
    ) b
    cross join booking.settings c
    left join booking.payments p on p.id = b.payment_id and p.booking_id = b.id
    order by b.id desc;
end
$$;

revoke all on function booking.list_bookings(text, text, uuid, int) from public;
grant execute on function booking.list_bookings(text, text, uuid, int) to booking_app;
comment on function booking.list_bookings(text, text, uuid, int) is
  'A person''s bookings, newest first, a page at a time (p_after: last id of the page before)';
