-- Records the Checkout Session that Stripe made for an order and gives the lock of the request back. The first session wins,
-- the same again changes nothing. The request id governs only the lock: a request whose lock had lapsed records all the same.
-- is_live: this session may be paid. Where it is false (a newer order began meanwhile, or the order has ended) the address must
-- not be given out; the session's end is queued for Stripe in the same commit.
-- Locks: lock's row -> order -> outbox insert.
-- Errors: PT400 invalid_request (DETAIL.field: stripe_session_id, url) · PT404 order_not_found ·
--   PT409 checkout_session_mismatch (the order has another session: DETAIL.stripe_session_id), checkout_session_taken (another
--   order has this session).
create or replace function booking.finish_checkout(p_order_id uuid, p_request_id text, p_stripe_session_id text, p_url text)
returns table (
  order_id uuid,
  status booking.order_status,
  stripe_session_id text,
  checkout_url text,
  is_live boolean
)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set jit = off
as $$
#variable_conflict use_column
declare
  v_order booking.orders;
begin
  if p_stripe_session_id is null or length(p_stripe_session_id) not between 1 and 255 then
    perform booking.refuse(400, 'invalid_request', '{"field": "stripe_session_id"}', 'Give the Checkout Session''s id.');
  end if;
  if p_url is not null and length(p_url) not between 1 and 5000 then
    perform booking.refuse(400, 'invalid_request', '{"field": "url"}', 'Give the address where the customer pays.');
  end if;
  select o.* into v_order from booking.orders o where o.id = p_order_id;
  if not found then
    perform booking.refuse(404, 'order_not_found', jsonb_build_object('order_id', p_order_id), 'Begin the checkout first.');
  end if;
  perform set_config('booking.actor', v_order.user_id, true),
    set_config('booking.request_id', left(coalesce(p_request_id, ''), 128), true);
  perform booking.release_lock(booking.checkout_lock_key(v_order.user_id, v_order.product_id), p_request_id);
  select o.* into v_order from booking.orders o where o.id = p_order_id for no key update;

  if v_order.stripe_session_id <> p_stripe_session_id then
    perform booking.refuse(409, 'checkout_session_mismatch',
      jsonb_build_object('order_id', p_order_id, 'stripe_session_id', v_order.stripe_session_id),
      'The order has a session already: send the customer there.');
  end if;
  perform from booking.orders o where o.stripe_session_id = p_stripe_session_id and o.id <> p_order_id;
  if found then
    perform booking.refuse(409, 'checkout_session_taken', jsonb_build_object('stripe_session_id', p_stripe_session_id),
      'This Checkout Session belongs to another order.');
  end if;
  if v_order.stripe_session_id is null or v_order.checkout_url is null and p_url is not null then
    update booking.orders o
    set stripe_session_id = p_stripe_session_id, checkout_url = p_url, last_error = null
    where o.id = p_order_id;
  end if;
  if v_order.stripe_session_id is null and (v_order.status in ('expired', 'failed') or v_order.superseded_by is not null) then
    perform booking.queue_session_expiry(p_order_id);
  end if;
  return query
    select o.id, o.status, o.stripe_session_id, o.checkout_url, o.status = 'pending' and o.superseded_by is null
    from booking.orders o where o.id = p_order_id;
end
$$;

revoke all on function booking.finish_checkout(uuid, text, text, text) from public;
grant execute on function booking.finish_checkout(uuid, text, text, text) to booking_app;
comment on function booking.finish_checkout(uuid, text, text, text) is
  'Records the Checkout Session that Stripe made for an order and gives the lock back';
