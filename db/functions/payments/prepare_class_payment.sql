-- Holds a seat in a class (a slot whose confirmation is instant, with its session) and gives what the server needs to
-- create the hold's one PaymentIntent, or to find it again: prepare_payment_intent's columns and the booking.
-- One hold a student and class: called again, also from two windows at once and with other keys, it gives the same unpaid
-- hold, even past its time as long as it was not cleaned up. p_idempotency_key (per student, settings.idempotency_ttl)
-- only makes sure that a key is not used for two classes.
-- The price is the session's in minor units; an amount that is given must match.
-- Locks: advisory lock on student and class -> idempotency key -> one seat counter -> booking -> payment.
-- Errors: PT400 invalid_request (DETAIL.field), amount_mismatch (DETAIL.amount, currency) · PT404 class_not_found ·
--   PT409 capacity_full (DETAIL.reason full | started), duplicate_booking (DETAIL.booking_id), idempotency_key_reused.
--   40001 (nothing written, try again): the hold ended at this moment while every free seat was being written.
create or replace function booking.prepare_class_payment(
  p_user_id text,
  p_class_id uuid,
  p_amount bigint default null,
  p_idempotency_key text default null
)
returns table (
  booking_id uuid,
  payment_id uuid,
  amount bigint,
  currency text,
  capture_method text,
  idempotency_key text,
  stripe_payment_intent_id text,
  metadata jsonb
)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set jit = off
as $$
#variable_conflict use_column
declare
  v_class record;
  v_hash bytea;
  v_now timestamptz;
  v_id uuid;
  v_booking booking.bookings;
  v_payment_status booking.payment_status;
  v_keeps_locks boolean := false;
  v_may_ask boolean;
begin
  perform booking.require_person('user_id', p_user_id);
  if p_class_id is null then
    perform booking.refuse(400, 'invalid_request', '{"field": "class_id"}', 'Name the class to book.');
  end if;
  if length(p_idempotency_key) not between 1 and 255 then
    perform booking.refuse(400, 'invalid_request', '{"field": "idempotency_key"}', 'A key has 1 to 255 characters.');
  end if;
  select s.id, s.expert_id, s.session_id, s.starts_at, s.ends_at, s.confirmation, x.amount, x.currency, c.idempotency_ttl
  into v_class
  from booking.slots s
  join booking.sessions x on x.id = s.session_id
  cross join booking.settings c
  where s.id = p_class_id and s.confirmation = 'instant';
  if not found then
    perform booking.refuse(404, 'class_not_found', jsonb_build_object('class_id', p_class_id), 'List the open classes again.');
  end if;

  -- two windows of one student: the second waits here, and finds the first one's hold
  perform pg_advisory_xact_lock(hashtextextended(jsonb_build_array('booking.class', p_class_id, p_user_id)::text, 0));

  if p_idempotency_key is not null then
    v_hash := sha256(convert_to(jsonb_build_array(p_class_id)::text, 'UTF8'));
    v_now := booking.clock();
    insert into booking.client_idempotency as k (scope, user_id, idempotency_key, request_hash, result_id, expires_at, created_at)
    values ('class', p_user_id, p_idempotency_key, v_hash, p_class_id, v_now + v_class.idempotency_ttl, v_now)
    on conflict (scope, user_id, idempotency_key)
    do update set request_hash = excluded.request_hash, result_id = excluded.result_id,
                  expires_at = excluded.expires_at, created_at = excluded.created_at
      where k.expires_at <= excluded.created_at;
    if not found then
      perform from booking.client_idempotency k
      where k.scope = 'class' and k.user_id = p_user_id and k.idempotency_key = p_idempotency_key and k.request_hash = v_hash;
      if not found then
        perform booking.refuse(409, 'idempotency_key_reused', jsonb_build_object('idempotency_key', p_idempotency_key),
          'Use a new key for a new request.');
      end if;
    end if;
  end if;

  loop
    select b.id into v_id from booking.bookings b
    where b.slot_id = p_class_id and b.student_id = p_user_id and b.status in ('pending', 'confirmed');
    if found then
      v_booking := booking.lock_booking(v_id, false);
      select p.status into v_payment_status from booking.payments p where p.id = v_booking.payment_id for no key update;
      exit when v_booking.status = 'pending'
        and coalesce(v_payment_status in ('pending', 'requires_action', 'processing', 'failed'), true);
      if v_booking.status in ('pending', 'confirmed', 'completed') then
        perform booking.refuse(409, 'duplicate_booking', jsonb_build_object('booking_id', v_id, 'class_id', p_class_id),
          'You have paid for a seat in this class already.');
      end if;
      v_keeps_locks := true; -- the hold ended while we waited for it
      continue;
    end if;

    if p_amount <> v_class.amount then
      perform booking.refuse(400, 'amount_mismatch',
        jsonb_build_object('field', 'amount', 'amount', v_class.amount, 'currency', v_class.currency),
        'The price is the class''s, in minor units.');
    end if;
    v_may_ask := true;
    if v_keeps_locks then
      -- a booking is locked, so no seat is waited for: only a counter that nobody works on
      perform from booking.slot_seats q where q.slot_id = p_class_id and q.taken < q.capacity
      order by q.part limit 1
      for no key update skip locked;
      v_may_ask := found;
      if not found then
        perform from booking.slot_seats q where q.slot_id = p_class_id and q.taken < q.capacity;
        if found then
          raise exception using errcode = '40001', message = 'could not take a seat: the hold has just ended', hint = 'Try again.';
        end if;
      end if;
    end if;
    if v_may_ask then
      v_booking := null;
      v_booking.id := booking.new_id(p_near => p_class_id);
      v_booking.payment_id := booking.new_id(p_near => p_class_id);
      v_booking.slot_id := p_class_id;
      v_booking.session_id := v_class.session_id;
      v_booking.student_id := p_user_id;
      v_booking.expert_id := v_class.expert_id;
      v_booking.confirmation := v_class.confirmation;
      v_booking.amount := v_class.amount;
      v_booking.currency := v_class.currency;
      v_booking.scheduled_at := v_class.starts_at;
      v_booking.ends_at := v_class.ends_at;
      v_booking := booking.seat_student(v_booking);
      exit when v_booking.id is not null;
    end if;

    -- another function may have booked for the student meanwhile: that booking is the hold then
    -- (or, where it has ended since, a seat is to be had again)
    v_now := booking.clock();
    perform from booking.bookings b
    where b.slot_id = p_class_id and b.student_id = p_user_id and b.status in ('pending', 'confirmed');
    if not found then
      perform from booking.slot_seats q
      where q.slot_id = p_class_id and q.taken < q.capacity and v_class.starts_at > v_now;
      continue when found;
      perform booking.refuse(409, 'capacity_full',
        jsonb_build_object('class_id', p_class_id, 'reason', case when v_class.starts_at <= v_now then 'started' else 'full' end),
        'Choose another class.');
    end if;
  end loop;

  if p_idempotency_key is not null then
    update booking.client_idempotency k set result_id = v_booking.id
    where k.scope = 'class' and k.user_id = p_user_id and k.idempotency_key = p_idempotency_key and k.result_id <> v_booking.id;
  end if;
  return query
    select v_booking.id, t.payment_id, t.amount, t.currency, t.capture_method, t.idempotency_key, t.stripe_payment_intent_id, t.metadata
    from booking.prepare_payment_intent(p_user_id, v_booking.id, p_amount) t;
end
$$;

revoke all on function booking.prepare_class_payment(text, uuid, bigint, text) from public;
grant execute on function booking.prepare_class_payment(text, uuid, bigint, text) to booking_app;
comment on function booking.prepare_class_payment(text, uuid, bigint, text) is
  'Holds a seat in a class and gives amount (minor units), idempotency key and metadata for its one PaymentIntent';
