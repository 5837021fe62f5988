-- A student asks for money back, p_amount in minor units; null: all that may be asked for. Nothing moves until an
-- administrator approves (decide_refund_request). Alive or ended makes no difference to the booking; its payment must be captured.
-- p_reason: the student's words, scrubbed with the booking. Returns the request's id.
-- Locks: booking -> payment.
-- Errors: PT400 invalid_request (DETAIL.field reason), invalid_refund_amount (DETAIL.field, amount, step, currency) ·
--   PT403 not_your_booking · PT404 booking_not_found · PT409 payment_not_captured (DETAIL.payment_status),
--   payment_disputed, refund_exceeds_captured (DETAIL.amount, refundable, currency).
create or replace function booking.request_refund(
  p_student_id text,
  p_booking_id uuid,
  p_amount bigint default null,
  p_reason text default null
)
returns uuid
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set jit = off
as $$
declare
  v_booking booking.bookings;
  v_payment booking.payments;
  v_step int;
  v_refundable bigint;
  v_amount bigint := p_amount;
  v_id uuid;
  v_now timestamptz;
begin
  if length(p_reason) > 1000 then
    perform booking.refuse(400, 'invalid_request', '{"field": "reason"}', 'A reason has at most 1,000 characters.');
  end if;
  v_booking := booking.lock_booking(p_booking_id, false);
  if v_booking.id is null then
    perform booking.refuse(404, 'booking_not_found', jsonb_build_object('booking_id', p_booking_id), 'Check the booking''s id.');
  end if;
  if v_booking.student_id is distinct from p_student_id then
    perform booking.refuse(403, 'not_your_booking', jsonb_build_object('booking_id', p_booking_id),
      'Only its student asks for a booking''s money back.');
  end if;
  select p.* into v_payment from booking.payments p
  where p.id = v_booking.payment_id and p.booking_id = p_booking_id for no key update;
  v_now := booking.clock();
  if coalesce(v_payment.amount_captured, 0) = 0 then
    perform booking.refuse(409, 'payment_not_captured',
      jsonb_build_object('booking_id', p_booking_id, 'payment_status', coalesce(v_payment.status::text, 'pending')),
      'Nothing was captured: there is nothing to give back. Cancel the booking instead.');
  end if;

  v_step := booking.currency_step(v_payment.currency);
  if p_amount <= 0 or p_amount % v_step <> 0 then
    perform booking.refuse(400, 'invalid_refund_amount',
      jsonb_build_object('field', 'amount', 'amount', p_amount, 'step', v_step, 'currency', v_payment.currency),
      'An amount is more than 0 and a multiple of the step, in minor units.');
  end if;
  if booking.is_refund_held(v_payment.id) then
    perform booking.refuse(409, 'payment_disputed', jsonb_build_object('booking_id', p_booking_id),
      'The payment is disputed at the bank: the dispute decides first.');
  end if;
  v_refundable := booking.refundable_amount(v_payment.id);
  v_amount := coalesce(p_amount, v_refundable - v_refundable % v_step);
  if v_amount = 0 or v_amount > v_refundable then
    perform booking.refuse(409, 'refund_exceeds_captured',
      jsonb_build_object('booking_id', p_booking_id, 'amount', p_amount, 'refundable', v_refundable, 'currency', v_payment.currency),
      'Ask for no more than is left beside refunds and other requests.');
  end if;

  v_id := booking.new_id(p_near => p_booking_id);
  insert into booking.refund_requests (id, booking_id, payment_id, student_id, amount, currency, reason, created_at, updated_at)
  values (v_id, p_booking_id, v_payment.id, p_student_id, v_amount, v_payment.currency, p_reason, v_now, v_now);
  perform booking.audit('refund_request.created', v_id::text, p_student_id, jsonb_build_object('booking_id', p_booking_id,
    'payment_id', v_payment.id, 'amount', v_amount, 'currency', v_payment.currency));
  return v_id;
end
$$;

revoke all on function booking.request_refund(text, uuid, bigint, text) from public;
grant execute on function booking.request_refund(text, uuid, bigint, text) to booking_app;
comment on function booking.request_refund(text, uuid, bigint, text) is
  'A student asks for money back (minor units; null: all that is left); an administrator decides';
