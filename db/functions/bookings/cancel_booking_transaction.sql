-- The student or the expert cancels a live booking; the seat is freed at once. Before capture the hold is released whole
-- (percent 100, amount 0); a student's confirmed booking follows refund_policies, also while its capture is on the way;
-- the expert always gives 100 %. Release or refund goes to Stripe through the outbox in the same commit.
-- command_id is the open Stripe command of the payment: the one to run now, or the capture that must be known first.
-- The common case, a pending booking whose hold is released whole, is written here as well, short: what
-- cancellation_terms() says of it and what settle_payment() wishes; and close_booking(), which would read the booking again.
-- enable_seqscan: a plan that was made while a table was still empty must not scan it when it has grown. jit: before version 18
-- PostgreSQL takes a scan of the settings' one row for immensely dear then, and compiles it, a quarter of a second each time.
-- Locks: seat counter -> booking -> payment -> outbox insert.
-- Errors: PT400 invalid_request · PT403 not_your_booking · PT404 booking_not_found · PT409 already_processed (DETAIL.status).
create or replace function booking.cancel_booking_transaction(p_actor_id text, p_booking_id uuid, p_reason text default null)
returns table (
  booking_id uuid,
  status booking.booking_status,
  cancelled_by text,
  refund_percent int,
  refund_amount bigint,
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
  v_booking booking.bookings;
  v_status booking.booking_status;
  v_student_id text;
  v_expert_id text;
  v_payment_id uuid;
  v_slot_id uuid;
  v_seat_part smallint;
  v_created_at timestamptz;
  v_scheduled_at timestamptz;
  v_reopened int;
  v_payment_status booking.payment_status;
  v_captured bigint;
  v_intent_id text;
  v_party text;
  v_is_plain boolean;
  v_now timestamptz;
begin
  select b.status, b.student_id, b.expert_id, b.payment_id, b.slot_id, b.seat_part, b.created_at, b.scheduled_at
  into v_status, v_student_id, v_expert_id, v_payment_id, v_slot_id, v_seat_part, v_created_at, v_scheduled_at
  from booking.bookings b join booking.slot_seats q on (q.slot_id, q.part) = (b.slot_id, b.seat_part)
  where b.id = p_booking_id
  for no key update of q, b; -- in this order
  select p.status, p.amount_captured, p.stripe_payment_intent_id into v_payment_status, v_captured, v_intent_id
  from booking.payments p where p.id = v_payment_id for no key update;
  v_now := booking.clock();

  v_party := case p_actor_id when v_student_id then 'student' when v_expert_id then 'expert' end;
  if v_party is null or v_status not in ('pending', 'confirmed') or length(p_reason) > 1000 then
    if length(p_reason) > 1000 then
      perform booking.refuse(400, 'invalid_request', '{"field": "reason"}', 'A reason has at most 1,000 characters.');
    end if;
    select b.* into v_booking from booking.bookings b where b.id = p_booking_id;
    perform booking.party_of(v_booking, p_booking_id, p_actor_id);
    perform booking.refuse(409, 'already_processed', jsonb_build_object('booking_id', p_booking_id, 'status', v_status),
      'Only a pending or confirmed booking can be cancelled.');
  end if;

  v_is_plain := v_status = 'pending' and v_captured = 0 and v_intent_id is not null and v_payment_status <> 'cancelled';
  refund_percent := 100;
  refund_amount := 0;
  if not coalesce(v_is_plain, false) then
    select b.* into v_booking from booking.bookings b where b.id = p_booking_id;
    select t.refund_percent, t.refund_amount into refund_percent, refund_amount
    from booking.cancellation_terms(v_booking, v_party = 'expert', v_now) t;
  end if;
  -- as close_booking() does it
  update booking.bookings b
  set status = 'cancelled', cancelled_by = v_party, cancellation_reason = p_reason, refund_percent = cancel_booking_transaction.refund_percent,
      closed_at = v_now
  where b.id = p_booking_id;
  update booking.slot_seats q set taken = q.taken - 1, is_open = true
  where q.slot_id = v_slot_id and q.part = v_seat_part
  returning (q.taken + 1 = q.capacity and q.parts = 1)::int into v_reopened;
  insert into booking.booking_events (booking_id, from_status, to_status, actor, reason, created_at)
  values (p_booking_id, v_status, 'cancelled', p_actor_id, 'cancelled_by_' || v_party, v_now);
  insert into booking.stat_deltas (metric, at, quantity, amount)
  values (case v_status when 'confirmed' then 'cancelled_after_confirmation' else 'cancelled' end::booking.stat_metric, v_created_at, 1, 0),
         ('seats', v_scheduled_at, -1, v_reopened);
  if v_is_plain then
    -- nothing was ever asked of a hold whose booking was pending until now; were something open, settle_payment() knows
    insert into booking.stripe_commands as c (id, payment_id, operation, stripe_id, run_at, created_at, updated_at)
    values (booking.new_id(p_near => v_payment_id), v_payment_id, 'cancel_payment_intent', v_intent_id, v_now, v_now, v_now)
    on conflict (stripe_id) where c.status in ('pending', 'running') do nothing
    returning c.id into command_id;
  end if;

  booking_id := p_booking_id;
  status := 'cancelled';
  cancelled_by := v_party;
  payment_status := v_payment_status;
  if command_id is null then
    perform set_config('booking.actor', coalesce(p_actor_id, ''), true);
    command_id := booking.settle_payment(p_booking_id);
    select p.status into payment_status from booking.payments p where p.id = v_payment_id;
    payment_status := coalesce(payment_status, 'cancelled'); -- no payment was ever prepared
  end if;
  return next;
end
$$;

revoke all on function booking.cancel_booking_transaction(text, uuid, text) from public;
grant execute on function booking.cancel_booking_transaction(text, uuid, text) to booking_app;
comment on function booking.cancel_booking_transaction(text, uuid, text) is
  'Cancels a live booking, frees its seat and queues release or refund by policy; amounts in minor units';
