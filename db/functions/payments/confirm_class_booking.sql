-- After the student has paid for a class: applies the PaymentIntent, which the server has just retrieved from Stripe, and
-- says what is true then. It does what the webhook does, so whichever comes first does it and the other changes nothing:
-- was_changed is true only for the call that recorded the money.
--   confirmed (or completed), refusal null: the seat is the student's; after a hold that had lapsed, in a new booking
--   cancelled, refusal capacity_full: the hold had lapsed and there was no seat to have any more; the refund of
--     everything is queued in the same commit. Returned, not raised: an exception would take the refund back
--   cancelled, refusal already_processed: the student or the expert had cancelled; refunded by the policy
-- The PaymentIntent must be the one of this student's booking in this class, by its metadata, id, amount and currency.
-- Locks: (seat counter ->) booking -> payment -> outbox insert.
-- Errors: PT400 invalid_request (DETAIL.field), payment_metadata_mismatch (DETAIL.mismatch) ·
--   PT402 payment_not_succeeded (DETAIL.status, amount_received) · PT404 class_not_found · PT500 booking_confirm_failed.
create or replace function booking.confirm_class_booking(p_user_id text, p_class_id uuid, p_intent jsonb)
returns table (
  booking_id uuid,
  status booking.booking_status,
  was_changed boolean,
  refusal text
)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set jit = off
as $$
#variable_conflict use_column
declare
  v_intent_id text := p_intent ->> 'id';
  v_source text := 'confirm-' || gen_random_uuid();
  v_payment booking.payments;
  v_booking booking.bookings;
  v_mismatch text;
  v_was_stray boolean;
begin
  perform booking.require_person('user_id', p_user_id);
  if p_class_id is null then
    perform booking.refuse(400, 'invalid_request', '{"field": "class_id"}', 'Name the class.');
  end if;
  if p_intent is null or jsonb_typeof(p_intent) <> 'object' or v_intent_id is null then
    perform booking.refuse(400, 'invalid_request', '{"field": "intent"}', 'Give the PaymentIntent that Stripe returned.');
  end if;
  perform from booking.slots s where s.id = p_class_id and s.confirmation = 'instant' and s.session_id is not null;
  if not found then
    perform booking.refuse(404, 'class_not_found', jsonb_build_object('class_id', p_class_id), 'Check the class''s id.');
  end if;

  select p.* into v_payment
  from booking.payment_of(p_intent, 'payment_intent.', null, null) f join booking.payments p on p.id = f.payment_id;
  select b.* into v_booking from booking.bookings b where b.id = v_payment.booking_id;
  v_mismatch := case
    when v_payment.id is null or p_intent #>> '{metadata,payment_id}' is distinct from v_payment.id::text then 'payment_id'
    when v_booking.student_id <> p_user_id or p_intent #>> '{metadata,user_id}' is distinct from p_user_id then 'user_id'
    when v_booking.slot_id <> p_class_id or p_intent #>> '{metadata,class_id}' is distinct from p_class_id::text then 'class_id'
    when v_payment.stripe_payment_intent_id <> v_intent_id then 'id'
    when p_intent -> 'amount' is distinct from to_jsonb(v_payment.amount)
      or (p_intent ->> 'amount_received')::bigint > v_payment.amount then 'amount'
    when lower(p_intent ->> 'currency') is distinct from v_payment.currency::text then 'currency'
  end;
  if v_mismatch is not null then
    perform booking.refuse(400, 'payment_metadata_mismatch',
      jsonb_build_object('class_id', p_class_id, 'payment_intent_id', v_intent_id, 'mismatch', v_mismatch),
      'This PaymentIntent is not the one of your seat in this class.');
  end if;
  if p_intent ->> 'status' is distinct from 'succeeded'
    or coalesce((p_intent ->> 'amount_received')::bigint, 0) < v_payment.amount
  then
    perform booking.refuse(402, 'payment_not_succeeded',
      jsonb_build_object('class_id', p_class_id, 'payment_intent_id', v_intent_id, 'status', p_intent ->> 'status',
        'amount_received', coalesce((p_intent ->> 'amount_received')::bigint, 0)),
      'The class is not paid yet: pay with the same client secret.');
  end if;

  if v_payment.status = 'cancelled' then
    -- paid after the payment had ended: it never enters our books, release_stray_intent() gives it back
    perform booking.lock_payment(v_payment.id, false);
  end if;
  select exists (select from booking.stripe_commands c
                 where c.payment_id = v_payment.id and c.stripe_id = v_intent_id and c.operation = 'create_refund')
  into v_was_stray;

  perform booking.apply_stripe_object(p_intent, 'payment_intent.succeeded', booking.clock(), v_source, v_payment.id, v_intent_id);

  -- booking and payment are locked now
  select p.* into v_payment from booking.payments p where p.id = v_payment.id;
  select b.* into v_booking from booking.bookings b where b.id = v_payment.booking_id;
  if v_payment.stripe_payment_intent_id is distinct from v_intent_id
    or v_booking.status = 'pending' or v_payment.amount_captured < v_payment.amount and v_payment.status <> 'cancelled'
  then
    perform booking.refuse(500, 'booking_confirm_failed',
      jsonb_build_object('class_id', p_class_id, 'payment_intent_id', v_intent_id, 'booking_id', v_booking.id),
      'The payment is safe: the webhook books or refunds it. Report this.');
  end if;
  booking_id := v_booking.id;
  status := v_booking.status;
  was_changed := case v_payment.status
    when 'cancelled' then not v_was_stray
    else exists (select from booking.transfers t where t.payment_id = v_payment.id and t.source = v_source)
  end;
  refusal := case
    when v_booking.status in ('confirmed', 'completed') then null
    when booking.is_lapsed_hold(v_booking) then 'capacity_full'
    else 'already_processed'
  end;
  return next;
end
$$;

revoke all on function booking.confirm_class_booking(text, uuid, jsonb) from public;
grant execute on function booking.confirm_class_booking(text, uuid, jsonb) to booking_app;
comment on function booking.confirm_class_booking(text, uuid, jsonb) is
  'Applies the PaymentIntent of a class and says whether the seat is the student''s; refusal where its money goes back';
