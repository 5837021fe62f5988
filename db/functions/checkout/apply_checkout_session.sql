-- Applies a Checkout Session of Stripe's, from an event or from an answer to a call, to its order (see order_of). Returns
-- false for what is not ours. p_type is the event's type; null for an answer, where the object's own status speaks.
-- The order only climbs, so the order of arrival never matters:
--   pending < expired < failed (an asynchronous payment) < paid (payment_status paid or no_payment_required)
-- Money that came in counts, also for an order that had been superseded, had failed or expired. Paid less, more or in another
-- currency than ours: not paid, an alert. Two orders that superseded one another both paid, or one paid twice: an alert. Once
-- one is paid, the sessions of the others are ended. A session that is not the order's own changes nothing unless it is paid.
-- Internal: granted to nobody. Locks: orders ascending (lock_order) -> commands, outbox insert -> alerts. Errors: constraint
-- violations where a session contradicts our books.
create or replace function booking.apply_checkout_session(p_object jsonb, p_type text)
returns boolean
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_ladder constant booking.order_status[] := array['pending', 'expired', 'failed', 'paid']::booking.order_status[];
  v_session_id text := p_object ->> 'id';
  v_intent_id text := case jsonb_typeof(p_object -> 'payment_intent')
    when 'object' then p_object #>> '{payment_intent,id}' else p_object ->> 'payment_intent' end;
  v_payment_status text := p_object ->> 'payment_status';
  v_order booking.orders;
  v_is_own boolean;
  v_was_paid boolean;
  v_target booking.order_status;
  v_error text;
  v_others uuid[];
  v_other uuid;
  v_now timestamptz;
begin
  v_order := booking.lock_order(booking.order_of(p_object));
  if v_order.id is null then
    return false;
  end if;
  v_now := booking.clock();
  v_is_own := coalesce(v_order.stripe_session_id = v_session_id, true);
  v_was_paid := v_order.status = 'paid';
  v_target := (case
    when (p_type in ('checkout.session.completed', 'checkout.session.async_payment_succeeded')
          or p_type is null and p_object ->> 'status' = 'complete')
      and v_payment_status in ('paid', 'no_payment_required') then 'paid'
    when p_type = 'checkout.session.async_payment_failed' then 'failed'
    when p_type = 'checkout.session.expired' or p_type is null and p_object ->> 'status' = 'expired' then 'expired'
  end)::booking.order_status;

  if v_target = 'paid'
    and ((p_object ->> 'amount_total')::bigint <> v_order.amount or lower(p_object ->> 'currency') <> v_order.currency)
  then
    perform booking.raise_alert('order_amount_mismatch', v_order.id::text, jsonb_build_object('session_id', v_session_id,
      'payment_intent_id', v_intent_id, 'ours', v_order.amount, 'theirs', p_object -> 'amount_total',
      'our_currency', v_order.currency, 'their_currency', p_object ->> 'currency'));
    if v_payment_status = 'paid' then
      v_target := null;
      v_error := 'amount_mismatch';
    end if;
  end if;
  if not v_is_own then
    if v_target is distinct from 'paid' then
      return true;
    end if;
    perform booking.raise_alert('stray_checkout_session', v_session_id,
      jsonb_build_object('order_id', v_order.id, 'payment_intent_id', v_intent_id));
  end if;

  update booking.orders o
  set stripe_session_id = coalesce(o.stripe_session_id, v_session_id), -- the event was faster than finish_checkout()
      stripe_payment_intent_id = coalesce(o.stripe_payment_intent_id, v_intent_id),
      expires_at = case when v_is_own then coalesce(to_timestamp((p_object ->> 'expires_at')::double precision), o.expires_at)
                        else o.expires_at end,
      status = case when array_position(v_ladder, v_target) > array_position(v_ladder, o.status) then v_target else o.status end,
      paid_at = case when v_target = 'paid' then coalesce(o.paid_at, v_now) else o.paid_at end,
      closed_at = case when v_target is not null then coalesce(o.closed_at, v_now) else o.closed_at end,
      last_error = coalesce(v_error, case when v_target = 'failed' and o.status <> 'paid' then 'async_payment_failed' end,
        case when v_target is distinct from 'paid' then o.last_error end)
  where o.id = v_order.id;

  if v_is_own and (p_type is not null or p_object ->> 'status' in ('complete', 'expired')) then
    perform booking.close_expiry_commands(v_order.id);
  end if;
  if v_target = 'paid' then
    v_others := array_remove(booking.order_kin(v_order.id), v_order.id);
    if not v_was_paid then
      select array_agg(o.id order by o.id) into v_others from booking.orders o where o.id = any (v_others) and o.status = 'paid';
      if v_others is not null then
        perform booking.raise_alert('order_paid_twice', v_order.id::text,
          jsonb_build_object('session_id', v_session_id, 'payment_intent_id', v_intent_id, 'other_orders', v_others));
      end if;
    elsif not v_is_own then
      perform booking.raise_alert('order_paid_twice', v_order.id::text,
        jsonb_build_object('session_id', v_session_id, 'payment_intent_id', v_intent_id));
    end if;
    for v_other in
      select o.id from booking.orders o
      where o.id = any (booking.order_kin(v_order.id)) and o.status = 'pending'
      order by o.id
    loop
      perform booking.queue_session_expiry(v_other);
    end loop;
  end if;
  return true;
end
$$;

revoke all on function booking.apply_checkout_session(jsonb, text) from public;
comment on function booking.apply_checkout_session(jsonb, text) is
  'Internal: applies a Checkout Session to its order, whatever the order of arrival; false when it is not ours';
