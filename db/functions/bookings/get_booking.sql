-- One booking with the state of its payment, for its student or its expert. Amounts in minor units, times UTC.
-- A hold that lapsed and whose payment moved on to a new booking shows no payment of its own any more.
-- Locks: none. Errors: PT403 not_your_booking · PT404 booking_not_found.
create or replace function booking.get_booking(p_user_id text, p_booking_id uuid)
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
set enable_seqscan = off
set jit = off
as $$
#variable_conflict use_column
declare
  v_booking booking.bookings;
begin
  select b.* into v_booking from booking.bookings b where b.id = p_booking_id;
  perform booking.party_of(v_booking, p_booking_id, p_user_id);
  return query
    select v_booking.id, v_booking.status, v_booking.slot_id, v_booking.session_id, v_booking.student_id,
      v_booking.expert_id, v_booking.scheduled_at, v_booking.ends_at,
      case when v_booking.status = 'pending' then v_booking.created_at + c.booking_timeout end,
      v_booking.amount, v_booking.currency::text, v_booking.payment_id,
      coalesce(p.status, case when v_booking.closed_at is null then 'pending' else 'cancelled' end::booking.payment_status),
      coalesce(p.amount_captured, 0), coalesce(p.amount_refunded, 0),
      v_booking.cancelled_by, v_booking.cancellation_reason, v_booking.refund_percent::int, v_booking.details,
      v_booking.created_at, v_booking.updated_at
    from booking.settings c
    left join booking.payments p on p.id = v_booking.payment_id and p.booking_id = v_booking.id;
end
$$;

revoke all on function booking.get_booking(text, uuid) from public;
grant execute on function booking.get_booking(text, uuid) to booking_app;
comment on function booking.get_booking(text, uuid) is 'One booking with its payment, for its student or its expert';
