-- The expert decides on a pending booking. 'confirm' asks Stripe to capture the hold, 'decline' to release it (or to
-- refund what was captured unasked), through the outbox in the same commit; decline frees the seat at once.
-- command_id is the Stripe command to run now, null when there is nothing to tell Stripe (no payment, or captured already).
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
as $$
#variable_conflict use_column
declare
  v_booking booking.bookings;
  v_payment booking.payments;
  v_now timestamptz;
begin
  if p_action is null or p_action not in ('confirm', 'decline') then
    perform booking.refuse(400, 'invalid_action', jsonb_build_object('field', 'action', 'action', p_action),
      'The action is confirm or decline.');
  end if;
  if length(p_reason) > 1000 then
    perform booking.refuse(400, 'invalid_request', '{"field": "reason"}', 'A reason has at most 1,000 characters.');
  end if;
  v_booking := booking.lock_booking(p_booking_id, p_action = 'decline');
  if v_booking.id is null then
    perform booking.refuse(404, 'booking_not_found', jsonb_build_object('booking_id', p_booking_id), 'Check the booking''s id.');
  end if;
  if v_booking.expert_id is distinct from p_expert_id then
    perform booking.refuse(403, 'not_your_booking', jsonb_build_object('booking_id', p_booking_id),
      'Only the expert of a booking decides on it.');
  end if;
  if v_booking.status <> 'pending' then
    perform booking.refuse(409, 'already_processed', jsonb_build_object('booking_id', p_booking_id, 'status', v_booking.status),
      'The booking was decided before.');
  end if;
  select p.* into v_payment from booking.payments p where p.id = v_booking.payment_id for no key update;
  v_now := booking.clock();

  if p_action = 'confirm' then
    if v_payment.id is null or v_payment.status not in ('authorized', 'captured', 'partially_refunded') then
      perform booking.refuse(409, 'payment_not_authorized',
        jsonb_build_object('booking_id', p_booking_id, 'payment_status', coalesce(v_payment.status, 'pending')),
        'The student has not paid yet.');
    end if;
    if v_payment.status = 'authorized' and v_payment.capture_before <= v_now then
      perform booking.refuse(409, 'authorization_expired',
        jsonb_build_object('booking_id', p_booking_id, 'capture_before', v_payment.capture_before),
        'The hold on the card has lapsed: the student must book again.');
    end if;
    perform booking.mark_confirmed(v_booking, p_expert_id, 'confirmed_by_expert', v_now);
    status := 'confirmed';
  else
    perform booking.close_booking(v_booking, 'declined', null, p_expert_id, 'declined_by_expert', p_reason, 100, v_now);
    status := 'declined';
  end if;

  booking_id := p_booking_id;
  command_id := booking.settle_payment(p_booking_id);
  select p.status into payment_status from booking.payments p where p.id = v_booking.payment_id;
  payment_status := coalesce(payment_status, 'cancelled'); -- a decline before any payment was prepared
  return next;
end
$$;

revoke all on function booking.confirm_booking_transaction(text, uuid, text, text) from public;
grant execute on function booking.confirm_booking_transaction(text, uuid, text, text) to booking_app;
comment on function booking.confirm_booking_transaction(text, uuid, text, text) is
  'The expert confirms or declines a pending booking; capture or release is queued for Stripe in the same commit';
