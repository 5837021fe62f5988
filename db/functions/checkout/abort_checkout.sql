-- Notes that no session came of a request, and gives its lock back. p_error is a code for the record, never a personal text.
--   'refused: ...'  Stripe refused it for good: the order fails, and its idempotency key may be used anew
--   anything else   nobody knows (no answer came): the order stays pending, and a retry with the same key goes on with it
-- An order that has a session, or has ended, only loses the lock. Returns the order's status.
-- Locks: lock's row -> order. Errors: PT404 order_not_found.
create or replace function booking.abort_checkout(p_order_id uuid, p_request_id text, p_error text)
returns booking.order_status
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set jit = off
as $$
declare
  v_order booking.orders;
  v_now timestamptz;
begin
  select o.* into v_order from booking.orders o where o.id = p_order_id;
  if not found then
    perform booking.refuse(404, 'order_not_found', jsonb_build_object('order_id', p_order_id), 'Begin the checkout first.');
  end if;
  perform set_config('booking.actor', v_order.user_id, true),
    set_config('booking.request_id', left(coalesce(p_request_id, ''), 128), true);
  perform booking.release_lock(booking.checkout_lock_key(v_order.user_id, v_order.product_id), p_request_id);
  select o.* into v_order from booking.orders o where o.id = p_order_id for no key update;
  v_now := booking.clock();
  if v_order.status = 'pending' and v_order.stripe_session_id is null then
    update booking.orders o
    set last_error = left(p_error, 500),
        status = case when p_error like 'refused:%' then 'failed' else o.status end,
        closed_at = case when p_error like 'refused:%' then v_now end
    where o.id = p_order_id
    returning o.status into v_order.status;
  end if;
  return v_order.status;
end
$$;

revoke all on function booking.abort_checkout(uuid, text, text) from public;
grant execute on function booking.abort_checkout(uuid, text, text) to booking_app;
comment on function booking.abort_checkout(uuid, text, text) is
  'Notes that no Checkout Session came of a request and gives its lock back';
