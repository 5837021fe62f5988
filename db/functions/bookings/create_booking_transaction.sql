-- Books one seat of a slot for a student. The booking is pending until the expert confirms (or, in an instant slot,
-- until it is paid); it expires settings.booking_timeout after its creation. The price is the session's at this moment.
-- A student's idempotency key answers the same request with the first booking, was_created = false, for
-- settings.idempotency_ttl. It writes the seat, the booking and two lines for the statistics, and nothing else.
-- Classes that are paid at once are booked by prepare_class_payment, through seat_student(): the same steps as here, which
-- are not shared because the nested call made this function about a tenth slower.
-- Every expression of PL/pgSQL is prepared anew in each transaction, every statement and function call in it costs, too. Hence
-- one condition for all that may be wrong with a request, looked at closer when it fails; the seat's own row tells what is
-- to know of the slot, its price included; ids and answer are made by the insert; refuse_booking() finds out why a booking is
-- not to be had, but that a slot of one counter is full, which at a hot slot nearly everybody is told, is said here.
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
set enable_seqscan = off
set jit = off
as $$
#variable_conflict use_column
declare
  v_expert_id text;
  v_session_id uuid;
  v_starts_at timestamptz;
  v_ends_at timestamptz;
  v_confirmation booking.confirmation_mode;
  v_amount bigint;
  v_currency char(3); -- as the columns: another type is cast in every call
  v_timeout interval;
  v_ttl interval;
  v_id uuid;
  v_parts smallint;
  v_part smallint;
  v_seats_left int;
  v_hash bytea;
  v_prefix bytea;
  v_result uuid;
  v_held_id uuid;
  v_now timestamptz;
begin
  if p_student_id is null or p_slot_id is null or p_student_id = '' or length(p_student_id) > 255 or p_details <> '{}' or p_details is null then
    perform booking.require_person('student_id', p_student_id);
    if p_slot_id is null then
      perform booking.refuse(400, 'invalid_request', '{"field": "slot_id"}', 'Name the slot to book.');
    end if;
    if p_details is null or jsonb_typeof(p_details) <> 'object' or pg_column_size(p_details) > 16384 then
      perform booking.refuse(400, 'invalid_request', '{"field": "details"}', 'Details are a JSON object of at most 16 kB.');
    end if;
  end if;

  if p_idempotency_key is not null then
    if length(p_idempotency_key) not between 1 and 255 then
      perform booking.refuse(400, 'invalid_request', '{"field": "idempotency_key"}', 'A key has 1 to 255 characters.');
    end if;
    select c.idempotency_ttl, c.booking_timeout into v_ttl, v_timeout from booking.settings c;
    v_id := booking.new_id(p_near => p_slot_id);
    v_hash := sha256(convert_to(jsonb_build_array(p_slot_id, p_session_id, p_details)::text, 'UTF8'));
    v_now := booking.clock();
    -- waits for a request with the same key that is still running
    insert into booking.client_idempotency as k (scope, user_id, idempotency_key, request_hash, result_id, expires_at, created_at)
    values ('booking', p_student_id, p_idempotency_key, v_hash, v_id, v_now + v_ttl, v_now)
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
               b.created_at + v_timeout, false
        from booking.bookings b where b.id = v_result;
      return;
    end if;
  end if;

  update booking.slot_seats q set taken = q.taken + 1, is_open = q.taken + 1 < q.capacity
  where q.slot_id = p_slot_id and q.part = 0 and q.parts = 1 and q.taken < q.capacity
  returning q.part, q.capacity - q.taken, q.expert_id, q.session_id, q.amount, q.currency, q.starts_at, q.ends_at, q.confirmation,
    booking.clock() -- after the wait for the seat
  into v_part, v_seats_left, v_expert_id, v_session_id, v_amount, v_currency, v_starts_at, v_ends_at, v_confirmation, v_now;
  if not found then
    select q.parts, q.expert_id, q.session_id, q.amount, q.currency, q.starts_at, q.ends_at, q.confirmation
    into v_parts, v_expert_id, v_session_id, v_amount, v_currency, v_starts_at, v_ends_at, v_confirmation
    from booking.slot_seats q where q.slot_id = p_slot_id and q.part = 0;
    if v_parts = 1 and (p_session_id = v_session_id) is not false then
      -- as refuse() and refuse_booking() say it
      select b.id into v_held_id from booking.bookings b
      where b.slot_id = p_slot_id and b.student_id = p_student_id and b.status in ('pending', 'confirmed');
      if not found then
        raise exception 'slot_unavailable' using errcode = 'PT409',
          detail = '{"reason": "full", "slot_id": "' || p_slot_id || '"}', hint = 'Choose another slot.';
      end if;
      raise exception 'duplicate_booking' using errcode = 'PT409',
        detail = '{"slot_id": "' || p_slot_id || '", "booking_id": "' || v_held_id || '"}', hint = 'You already hold a seat in this slot.';
    end if;
    if v_parts > 1 then
      v_part := booking.take_class_seat(p_slot_id, v_parts);
      v_seats_left := -1; -- open classes are counted by looking at them
      v_now := booking.clock();
    end if;
    if v_part is null then
      perform booking.refuse_booking(p_student_id, p_slot_id, p_session_id,
        case when v_parts is null or p_session_id <> v_session_id then 'absent' else 'full' end);
    end if;
  end if;

  if p_session_id <> v_session_id or v_session_id is null then -- open to several sessions, or not to this one
    select x.id, x.amount, x.currency into v_session_id, v_amount, v_currency
    from booking.sessions x
    where x.id = p_session_id and v_session_id is null and x.expert_id = v_expert_id;
    if not found then
      perform booking.refuse_booking(p_student_id, p_slot_id, p_session_id, 'absent');
    end if;
  end if;
  if v_starts_at <= v_now then
    perform booking.refuse_booking(p_student_id, p_slot_id, p_session_id, 'started');
  end if;

  -- both ids begin with the milliseconds and the slot's shard, as new_id() makes them
  v_prefix := substring(int8send(floor(date_part('epoch', v_now) * 1000)::bigint), 3) || substring(uuid_send(p_slot_id), 7, 2);
  return query
    insert into booking.bookings as b (id, slot_id, session_id, student_id, expert_id, payment_id, seat_part, confirmation,
      currency, amount, scheduled_at, ends_at, details, created_at, updated_at)
    values (coalesce(v_id, encode(overlay(uuid_send(gen_random_uuid()), v_prefix, 1, 8), 'hex')::uuid), p_slot_id, v_session_id,
      p_student_id, v_expert_id, encode(overlay(uuid_send(gen_random_uuid()), v_prefix, 1, 8), 'hex')::uuid, v_part,
      v_confirmation, v_currency, v_amount, v_starts_at, v_ends_at, p_details, v_now, v_now)
    on conflict (slot_id, student_id) where b.status in ('pending', 'confirmed') do nothing
    returning b.id, b.status, b.payment_id, b.expert_id, b.amount, b.currency::text, b.scheduled_at,
      b.created_at + (select c.booking_timeout from booking.settings c), true;
  if not found then
    perform booking.refuse_booking(p_student_id, p_slot_id, p_session_id, 'duplicate');
  end if;

  insert into booking.stat_deltas (metric, at, quantity, amount)
  values ('booked', v_now, 1, 0),
         ('seats', v_starts_at, 1, case v_seats_left when 0 then -1 else 0 end);
end
$$;

revoke all on function booking.create_booking_transaction(text, uuid, uuid, text, jsonb) from public;
grant execute on function booking.create_booking_transaction(text, uuid, uuid, text, jsonb) to booking_app;
comment on function booking.create_booking_transaction(text, uuid, uuid, text, jsonb) is
  'Books one seat of a slot for a student; amounts in minor units, times UTC';
