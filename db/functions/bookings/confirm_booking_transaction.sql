-- The expert decides on a pending booking. 'confirm' asks Stripe to capture the hold, 'decline' to release it (or to
-- refund what was captured unasked), through the outbox in the same commit; decline frees the seat at once.
-- command_id is the Stripe command to run now, null when there is nothing to tell Stripe (no payment, or captured already).
-- Asking for the capture of a hold is settle_payment()'s most common wish by far, so it is written here as well, short; and
-- mark_confirmed(), which would read the booking again.
-- enable_seqscan: a plan that was made while a table was still empty must not scan it when it has grown. jit: before version 18
-- PostgreSQL takes a scan of the settings' one row for immensely dear then, and compiles it, a quarter of a second each time.
-- Locks: (decline: seat counter ->) booking -> payment -> outbox insert.
-- Errors: PT400 invalid_action · PT403 not_your_booking · PT404 booking_not_found ·
--   PT409 already_processed (DETAIL.status), payment_not_authorized (DETAIL.payment_status), authorization_expired.
create or replace function booking.confirm_booking_transaction(
  p_expert_id text,
  p_booking_id uuid,
  p_action text default 'confirm',
  p_reason text default null
)
returns table (
  booking_id uuid,
  status booking.booking_status,
  payment_status booking.payment_status,
  command_id uuid
)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set jit = off
as $$
#variable_conflict use_column
declare
  v_expert_id text;
  v_status booking.booking_status;
  v_payment_id uuid;
  v_payment_status booking.payment_status;
  v_capture_before timestamptz;
  v_intent_id text;
  v_created_at timestamptz;
  v_now timestamptz;
begin
  if p_action is distinct from 'confirm' or p_reason is not null then
    if p_action is null or p_action not in ('confirm', 'decline') then
      perform booking.refuse(400, 'invalid_action', jsonb_build_object('field', 'action', 'action', p_action),
        'The action is confirm or decline.');
    end if;
    if length(p_reason) > 1000 then
      perform booking.refuse(400, 'invalid_request', '{"field": "reason"}', 'A reason has at most 1,000 characters.');
    end if;
    if p_action = 'decline' then
      perform booking.lock_booking(p_booking_id, true); -- its seat first
    end if;
  end if;
  select b.expert_id, b.status, b.payment_id, b.created_at into v_expert_id, v_status, v_payment_id, v_created_at
  from booking.bookings b where b.id = p_booking_id for no key update;
  select p.status, p.capture_before, p.stripe_payment_intent_id into v_payment_status, v_capture_before, v_intent_id
  from booking.payments p where p.id = v_payment_id for no key update;
  v_now := booking.clock();

  if v_expert_id is distinct from p_expert_id or v_status is distinct from 'pending'
    or p_action = 'confirm' and (v_payment_status is null or v_payment_status not in ('authorized', 'captured', 'partially_refunded')
                                 or v_payment_status = 'authorized' and v_capture_before <= v_now)
  then
    if v_status is null then
      perform booking.refuse(404, 'booking_not_found', jsonb_build_object('booking_id', p_booking_id), 'Check the booking''s id.');
    end if;
    if v_expert_id is distinct from p_expert_id then
      perform booking.refuse(403, 'not_your_booking', jsonb_build_object('booking_id', p_booking_id),
        'Only the expert of a booking decides on it.');
    end if;
    if v_status <> 'pending' then
      perform booking.refuse(409, 'already_processed', jsonb_build_object('booking_id', p_booking_id, 'status', v_status),
        'The booking was decided before.');
    end if;
    if v_payment_status = 'authorized' then
      perform booking.refuse(409, 'authorization_expired',
        jsonb_build_object('booking_id', p_booking_id, 'capture_before', v_capture_before),
        'The hold on the card has lapsed: the student must book again.');
    end if;
    perform booking.refuse(409, 'payment_not_authorized',
      jsonb_build_object('booking_id', p_booking_id, 'payment_status', coalesce(v_payment_status, 'pending')),
      'The student has not paid yet.');
  end if;

  if p_action = 'confirm' then
    -- as mark_confirmed() does it
    update booking.bookings b set status = 'confirmed', confirmed_at = v_now where b.id = p_booking_id;
    insert into booking.booking_events (booking_id, from_status, to_status, actor, reason, created_at)
    values (p_booking_id, 'pending', 'confirmed', p_expert_id, 'confirmed_by_expert', v_now);
    insert into booking.stat_deltas (metric, at, quantity, amount)
    values ('confirmed', v_created_at, 1, (extract(epoch from v_now - v_created_at) * 1000000)::bigint);
    status := 'confirmed';
    if v_payment_status = 'authorized' then
      -- nothing was ever asked of a hold whose booking was pending until now; were something open, settle_payment() knows
      insert into booking.stripe_commands as c (id, payment_id, operation, stripe_id, run_at, created_at, updated_at)
      values (booking.new_id(p_near => v_payment_id), v_payment_id, 'capture_payment_intent', v_intent_id, v_now, v_now, v_now)
      on conflict (stripe_id) where c.status in ('pending', 'running') do nothing
      returning c.id into command_id;
    end if;
  else
    perform booking.close_booking(p_booking_id, 'pending', 'declined', null, p_expert_id, 'declined_by_expert', p_reason, 100, v_now);
    status := 'declined';
  end if;

  booking_id := p_booking_id;
  payment_status := v_payment_status;
  if command_id is null then
    perform set_config('booking.actor', coalesce(p_expert_id, ''), true);
    command_id := booking.settle_payment(p_booking_id);
    select p.status into payment_status from booking.payments p where p.id = v_payment_id;
    payment_status := coalesce(payment_status, 'cancelled'); -- a decline before any payment was prepared
  end if;
  return next;
end
$$;

revoke all on function booking.confirm_booking_transaction(text, uuid, text, text) from public;
grant execute on function booking.confirm_booking_transaction(text, uuid, text, text) to booking_app;
comment on function booking.confirm_booking_transaction(text, uuid, text, text) is
  'The expert confirms or declines a pending booking; capture or release is queued for Stripe in the same commit';
