-- Brings what Stripe is asked in line with what was decided, from the booking and the payment as they are now; called
-- after every decision and after every fact from Stripe, it converges whatever came first. Returns the open command.
--   not authorized yet:  a dead booking's PaymentIntent is cancelled (without one, the payment is cancelled at once)
--   authorized:          confirmed, or cancelled with something to keep -> capture;  dead otherwise -> release
--   captured:            a dead booking gives back its percentage, less what counts as given back already
-- A command never sent is superseded when the wish changed; one that was sent must be known first: then nothing is
-- queued, and the next call after its outcome decides. What is dead, refused or applied is not asked for again.
-- An open or lost dispute holds refunds back: Stripe has taken the money already.
-- Internal: granted to nobody. Locks: outbox row/insert (the caller holds booking and payment). Errors: none.
create or replace function booking.settle_payment(p_booking_id uuid)
returns uuid
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_booking booking.bookings;
  v_payment booking.payments;
  v_open booking.stripe_commands;
  v_is_dead boolean;
  v_wish text;
  v_amount bigint;
begin
  select b.* into v_booking from booking.bookings b where b.id = p_booking_id;
  select p.* into v_payment from booking.payments p where p.id = v_booking.payment_id;
  if v_payment.id is null then
    return null;
  end if;
  v_is_dead := v_booking.status in ('declined', 'cancelled');

  if v_payment.stripe_payment_intent_id is null then
    if v_is_dead and v_payment.status <> 'cancelled' then
      update booking.payments p set status = 'cancelled' where p.id = v_payment.id;
    end if;
    return null;
  end if;

  select c.* into v_open from booking.stripe_commands c
  where c.stripe_id = v_payment.stripe_payment_intent_id and c.status in ('pending', 'running')
  for no key update;

  if v_payment.status in ('pending', 'requires_action', 'processing', 'failed') then
    v_wish := case when v_is_dead then 'cancel_payment_intent' end;
  elsif v_payment.status = 'authorized' then
    v_wish := case
      when v_booking.status in ('confirmed', 'completed') then 'capture_payment_intent'
      when v_is_dead and v_booking.refund_percent < 100 then 'capture_payment_intent'
      when v_is_dead then 'cancel_payment_intent'
    end;
  elsif v_payment.status = 'cancelled' then
    perform from booking.stripe_commands c
    where c.stripe_id = v_payment.stripe_payment_intent_id and c.operation = 'create_refund'
      and c.outcome is distinct from 'superseded';
    if found then
      return v_open.id; -- it was paid after all, and release_stray_intent() gives it back
    end if;
    -- our own word so far: the PaymentIntent came to be known only afterwards
    v_wish := case when v_payment.stripe_cancelled_at is null then 'cancel_payment_intent' end;
  elsif v_is_dead then
    v_amount := booking.percent_of(v_payment.amount_captured, v_booking.refund_percent, v_payment.currency)
      - booking.refunds_counted(v_payment.id)
      + case when v_open.operation = 'create_refund'
                  and not exists (select from booking.refunds f where f.command_id = v_open.id)
             then (v_open.params ->> 'amount')::bigint else 0 end;
    if v_amount > 0 then
      perform from booking.disputes d
      where d.payment_id = v_payment.id and d.status not in ('won', 'warning_closed', 'prevented');
      if found then
        perform booking.raise_alert('refund_held_by_dispute', v_payment.id::text, jsonb_build_object('amount', v_amount));
      else
        v_wish := 'create_refund';
      end if;
    end if;
  end if;

  if v_open.id is not null then
    if v_open.attempts > 0
      or v_open.operation = v_wish and (v_wish <> 'create_refund' or (v_open.params ->> 'amount')::bigint = v_amount)
    then
      return v_open.id;
    end if;
    update booking.stripe_commands c set status = 'done', outcome = 'superseded' where c.id = v_open.id;
  end if;
  if v_wish is null then
    return null;
  end if;
  if v_wish = 'create_refund' then
    return booking.queue_stripe_command(v_payment.id, v_wish, v_payment.stripe_payment_intent_id, v_amount);
  end if;
  perform from booking.stripe_commands c
  where c.payment_id = v_payment.id and c.stripe_id = v_payment.stripe_payment_intent_id and c.operation = v_wish
    and (c.status = 'dead' or c.outcome in ('applied', 'refused'));
  if found then
    return null;
  end if;
  return booking.queue_stripe_command(v_payment.id, v_wish, v_payment.stripe_payment_intent_id, null);
end
$$;

revoke all on function booking.settle_payment(uuid) from public;
comment on function booking.settle_payment(uuid) is
  'Internal: queues what Stripe must be told now, given the booking and the payment; returns the open command';
