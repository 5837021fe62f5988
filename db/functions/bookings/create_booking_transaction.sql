-- Books one seat of a slot for a student. The booking is pending until the expert confirms (or, in an instant slot,
-- until it is paid); it expires settings.booking_timeout after its creation. The price is the session's at this moment.
-- A student's idempotency key answers the same request with the first booking, was_created = false, for
-- settings.idempotency_ttl. It writes the seat, the booking and one line for the statistics, and nothing else.
-- Locks: idempotency key -> one seat counter -> the new booking.
-- Errors: PT400 invalid_request (DETAIL.field), session_mismatch · PT404 slot_not_found, session_not_found ·
--   PT409 slot_unavailable (DETAIL.reason full | started), duplicate_booking (DETAIL.booking_id), idempotency_key_reused.
create or replace function booking.create_booking_transaction(
  p_student_id text,
  p_slot_id uuid,
  p_session_id uuid default null,
  p_idempotency_key text default null,
  p_details jsonb default '{}'
)
returns table (
  booking_id uuid,
  status booking.booking_status,
  payment_id uuid,
  expert_id text,
  amount bigint,
  currency text,
  scheduled_at timestamptz,
  expires_at timestamptz,
  was_created boolean
)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
  v_slot record;
  v_part smallint := 0;
  v_seats_left int;
  v_hash bytea;
  v_result uuid;
  v_now timestamptz;
begin
  if p_student_id is null or length(p_student_id) not between 1 and 255 then
    perform booking.require_person('student_id', p_student_id);
  end if;
  if p_slot_id is null then
    perform booking.refuse(400, 'invalid_request', '{"field": "slot_id"}', 'Name the slot to book.');
  end if;
  if p_details is null or jsonb_typeof(p_details) <> 'object' or pg_column_size(p_details) > 16384 then
    perform booking.refuse(400, 'invalid_request', '{"field": "details"}', 'Details are a JSON object of at most 16 kB.');
  end if;

  select s.id, s.expert_id, s.session_id, s.starts_at, s.ends_at, s.capacity, s.parts, s.confirmation,
         x.id as sold_id, x.expert_id as sold_by, x.amount, x.currency, c.booking_timeout, c.idempotency_ttl
  into v_slot
  from booking.slots s
  cross join booking.settings c
  left join booking.sessions x on x.id = coalesce(p_session_id, s.session_id)
  where s.id = p_slot_id;
  if not found then
    perform booking.refuse(404, 'slot_not_found', jsonb_build_object('slot_id', p_slot_id), 'List the open slots again.');
  end if;
  if v_slot.sold_id is null then
    if p_session_id is null then
      perform booking.refuse(400, 'invalid_request', '{"field": "session_id"}', 'This slot is open to several sessions: name one.');
    end if;
    perform booking.refuse(404, 'session_not_found', jsonb_build_object('session_id', p_session_id), 'Choose one of the expert''s sessions.');
  end if;
  if v_slot.sold_by <> v_slot.expert_id or v_slot.session_id is not null and v_slot.session_id <> v_slot.sold_id then
    perform booking.refuse(400, 'session_mismatch', jsonb_build_object('session_id', p_session_id, 'slot_id', p_slot_id),
      'The slot is for another session.');
  end if;

  booking_id := booking.new_id(p_near => p_slot_id);

  if p_idempotency_key is not null then
    if length(p_idempotency_key) not between 1 and 255 then
      perform booking.refuse(400, 'invalid_request', '{"field": "idempotency_key"}', 'A key has 1 to 255 characters.');
    end if;
    v_hash := sha256(convert_to(jsonb_build_array(p_slot_id, p_session_id, p_details)::text, 'UTF8'));
    v_now := booking.clock();
    -- waits for a request with the same key that is still running
    insert into booking.client_idempotency as k (scope, user_id, idempotency_key, request_hash, result_id, expires_at, created_at)
    values ('booking', p_student_id, p_idempotency_key, v_hash, booking_id, v_now + v_slot.idempotency_ttl, v_now)
    on conflict (scope, user_id, idempotency_key)
    do update set request_hash = excluded.request_hash, result_id = excluded.result_id,
                  expires_at = excluded.expires_at, created_at = excluded.created_at
      where k.expires_at <= excluded.created_at;
    if not found then
      select k.result_id into v_result from booking.client_idempotency k
      where k.scope = 'booking' and k.user_id = p_student_id and k.idempotency_key = p_idempotency_key
        and k.request_hash = v_hash;
      if not found then
        perform booking.refuse(409, 'idempotency_key_reused', jsonb_build_object('idempotency_key', p_idempotency_key),
          'Use a new key for a new request.');
      end if;
      return query
        select b.id, b.status, b.payment_id, b.expert_id, b.amount, b.currency::text, b.scheduled_at,
               b.created_at + v_slot.booking_timeout, false
        from booking.bookings b where b.id = v_result;
      return;
    end if;
  end if;

  if v_slot.parts = 1 then
    update booking.slot_seats q set taken = q.taken + 1
    where q.slot_id = p_slot_id and q.part = 0 and q.taken < q.capacity
    returning q.capacity - q.taken into v_seats_left;
  else
    v_part := booking.take_class_seat(p_slot_id, v_slot.parts);
    v_seats_left := -1; -- open classes are counted by looking at them
  end if;
  if v_part is null or v_seats_left is null then
    select b.id into v_result from booking.bookings b
    where b.slot_id = p_slot_id and b.student_id = p_student_id and b.status in ('pending', 'confirmed');
    if found then
      perform booking.refuse(409, 'duplicate_booking', jsonb_build_object('booking_id', v_result, 'slot_id', p_slot_id),
        'You already hold a seat in this slot.');
    end if;
    perform booking.refuse(409, 'slot_unavailable', jsonb_build_object('slot_id', p_slot_id, 'reason', 'full'),
      'Choose another slot.');
  end if;

  v_now := booking.clock(); -- after the wait for the seat
  if v_slot.starts_at <= v_now then
    perform booking.refuse(409, 'slot_unavailable', jsonb_build_object('slot_id', p_slot_id, 'reason', 'started'),
      'Choose a slot in the future.');
  end if;

  status := 'pending';
  payment_id := booking.new_id(p_near => p_slot_id);
  expert_id := v_slot.expert_id;
  amount := v_slot.amount;
  currency := v_slot.currency;
  scheduled_at := v_slot.starts_at;
  expires_at := v_now + v_slot.booking_timeout;
  was_created := true;
  insert into booking.bookings as b (id, slot_id, session_id, student_id, expert_id, payment_id, seat_part, confirmation,
    currency, amount, scheduled_at, ends_at, details, created_at, updated_at)
  values (booking_id, p_slot_id, v_slot.sold_id, p_student_id, v_slot.expert_id, payment_id, v_part, v_slot.confirmation,
    v_slot.currency, v_slot.amount, v_slot.starts_at, v_slot.ends_at, p_details, v_now, v_now)
  on conflict (slot_id, student_id) where b.status in ('pending', 'confirmed') do nothing;
  if not found then
    select b.id into v_result from booking.bookings b
    where b.slot_id = p_slot_id and b.student_id = p_student_id and b.status in ('pending', 'confirmed');
    perform booking.refuse(409, 'duplicate_booking', jsonb_build_object('booking_id', v_result, 'slot_id', p_slot_id),
      'You already hold a seat in this slot.');
  end if;

  insert into booking.stat_deltas (metric, hour, quantity, amount)
  values ('booked', date_trunc('hour', v_now, 'UTC'), 1, 0),
         ('seats', date_trunc('hour', v_slot.starts_at, 'UTC'), 1, case v_seats_left when 0 then -1 else 0 end);
  return next;
end
$$;

revoke all on function booking.create_booking_transaction(text, uuid, uuid, text, jsonb) from public;
grant execute on function booking.create_booking_transaction(text, uuid, uuid, text, jsonb) to booking_app;
comment on function booking.create_booking_transaction(text, uuid, uuid, text, jsonb) is
  'Books one seat of a slot for a student; amounts in minor units, times UTC';
