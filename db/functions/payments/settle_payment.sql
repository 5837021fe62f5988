-- Brings what Stripe is asked in line with what was decided, from the booking and the payment as they are now; called
-- after every decision and after every fact from Stripe, it converges whatever came first. Returns the open command.
--   not authorized yet:  a dead booking's PaymentIntent is cancelled (without one, the payment is cancelled at once)
--   authorized:          confirmed, or cancelled with something to keep -> capture;  dead otherwise -> release
--   captured:            refund requests that were approved, oldest first, one command each; after them a dead booking
--                        gives back its percentage, less what counts as given back already
-- A command never sent is superseded when the wish changed; one that was sent must be known first: then nothing is
-- queued, and the next call after its outcome decides. What is dead, refused or applied is not asked for again.
-- An open or lost dispute holds refunds back: Stripe has taken the money already. An approved request whose money went
-- back in another way before it was sent, or was lost in a dispute, is decided anew (reopen_refund_request).
-- Internal: granted to nobody. Locks: outbox row -> requests -> outbox insert -> alert (the caller holds booking and payment).
-- Errors: none.
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
  v_own bigint := 0;
  v_request booking.refund_requests;
  v_request_id uuid;
  v_held jsonb;
  v_is_lost boolean;
  v_id uuid;
begin
  select b.* into v_booking from booking.bookings b where b.id = p_booking_id;
  -- the payment of a lapsed hold may have moved on to the booking that seated its student again
  select p.* into v_payment from booking.payments p where p.id = v_booking.payment_id and p.booking_id = v_booking.id;
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
  elsif v_is_dead or exists (select from booking.refund_requests q where q.payment_id = v_payment.id and q.status = 'approved') then
    if v_open.attempts > 0 then
      return v_open.id;
    end if;
    if v_open.refund_request_id is null and v_open.operation = 'create_refund'
      and not exists (select from booking.refunds f where f.command_id = v_open.id)
    then
      v_own := (v_open.params ->> 'amount')::bigint;
    end if;
    v_is_lost := exists (select from booking.disputes d where d.payment_id = v_payment.id and d.status = 'lost');
    -- approved requests that can be given no more are decided anew, the latest first
    for v_request in
      select q.* from booking.refund_requests q
      where q.payment_id = v_payment.id and q.status = 'approved'
        and (q.command_id is null
             or q.command_id = v_open.id and not exists (select from booking.refunds f where f.command_id = v_open.id))
      order by q.decided_at desc, q.id desc
    loop
      exit when not v_is_lost and booking.refunds_promised(v_payment.id) - v_own <= v_payment.amount_captured;
      if v_request.command_id is not null then
        update booking.stripe_commands c set status = 'done', outcome = 'superseded' where c.id = v_open.id;
        v_open := null;
      end if;
      perform booking.reopen_refund_request(v_request.id, case when v_is_lost then 'dispute_lost' else 'exceeds_captured' end);
    end loop;

    v_amount := greatest(0, coalesce(booking.policy_due(v_payment.id), 0) + v_own);
    if booking.is_refund_held(v_payment.id) then
      update booking.refund_requests q set command_id = null
      where q.command_id = v_open.id and q.status = 'approved'
        and not exists (select from booking.refunds f where f.command_id = v_open.id);
      select v_amount + coalesce(sum(q.amount), 0)::bigint, jsonb_agg(q.id order by q.decided_at, q.id)
      into v_amount, v_held
      from booking.refund_requests q
      where q.payment_id = v_payment.id and q.status = 'approved' and q.command_id is null;
      if v_amount > 0 then
        perform booking.raise_alert('refund_held_by_dispute', v_payment.id::text,
          jsonb_strip_nulls(jsonb_build_object('amount', v_amount, 'request_ids', v_held)));
      else
        update booking.alerts a set resolved_at = booking.clock(), resolved_by = 'stripe'
        where a.kind = 'refund_held_by_dispute' and a.subject = v_payment.id::text and a.resolved_at is null;
      end if;
    else
      if v_own = 0 or v_amount = 0 then
        select q.id, q.amount into v_request_id, v_own from booking.refund_requests q
        where q.payment_id = v_payment.id and q.status = 'approved'
          and (q.command_id is null
               or q.command_id = v_open.id and not exists (select from booking.refunds f where f.command_id = v_open.id))
        order by q.command_id is null, q.decided_at, q.id
        limit 1;
        v_amount := coalesce(v_own, v_amount);
      end if;
      v_wish := case when v_amount > 0 then 'create_refund' end;
    end if;
  end if;

  if v_open.id is not null then
    if v_open.attempts > 0
      or v_open.operation = v_wish and v_open.refund_request_id is not distinct from v_request_id
        and (v_wish <> 'create_refund' or (v_open.params ->> 'amount')::bigint = v_amount)
    then
      return v_open.id;
    end if;
    update booking.stripe_commands c set status = 'done', outcome = 'superseded' where c.id = v_open.id;
  end if;
  if v_wish is null then
    return null;
  end if;
  if v_wish = 'create_refund' then
    v_id := booking.queue_stripe_command(v_payment.id, v_wish, v_payment.stripe_payment_intent_id, v_amount);
    if v_request_id is not null then
      update booking.stripe_commands c
      set refund_request_id = v_request_id, params = jsonb_set(c.params, '{metadata,request_id}', to_jsonb(v_request_id))
      where c.id = v_id;
      update booking.refund_requests q set command_id = v_id where q.id = v_request_id;
    end if;
    return v_id;
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
