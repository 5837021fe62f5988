-- The student or the expert cancels a live booking; the seat is freed at once. Before capture the hold is released whole
-- (percent 100, amount 0); a student's confirmed booking follows refund_policies, also while its capture is on the way;
-- the expert always gives 100 %. Release or refund goes to Stripe through the outbox in the same commit.
-- command_id is the open Stripe command of the payment: the one to run now, or the capture that must be known first.
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
as $$
#variable_conflict use_column
declare
  v_booking booking.bookings;
  v_now timestamptz;
begin
  if length(p_reason) > 1000 then
    perform booking.refuse(400, 'invalid_request', '{"field": "reason"}', 'A reason has at most 1,000 characters.');
  end if;
  v_booking := booking.lock_booking(p_booking_id, true);
  cancelled_by := booking.party_of(v_booking, p_booking_id, p_actor_id);
  if v_booking.status not in ('pending', 'confirmed') then
    perform booking.refuse(409, 'already_processed', jsonb_build_object('booking_id', p_booking_id, 'status', v_booking.status),
      'Only a pending or confirmed booking can be cancelled.');
  end if;
  perform from booking.payments p where p.id = v_booking.payment_id for no key update;
  v_now := booking.clock();

  select t.refund_percent, t.refund_amount into refund_percent, refund_amount
  from booking.cancellation_terms(v_booking, cancelled_by = 'expert', v_now) t;
  perform booking.close_booking(v_booking, 'cancelled', cancelled_by, p_actor_id, 'cancelled_by_' || cancelled_by, p_reason,
    refund_percent, v_now);

  booking_id := p_booking_id;
  status := 'cancelled';
  command_id := booking.settle_payment(p_booking_id);
  select p.status into payment_status from booking.payments p where p.id = v_booking.payment_id;
  payment_status := coalesce(payment_status, 'cancelled'); -- no payment was ever prepared
  return next;
end
$$;

revoke all on function booking.cancel_booking_transaction(text, uuid, text) from public;
grant execute on function booking.cancel_booking_transaction(text, uuid, text) to booking_app;
comment on function booking.cancel_booking_transaction(text, uuid, text) is
  'Cancels a live booking, frees its seat and queues release or refund by policy; amounts in minor units';
