-- Begins the purchase of one product by one user, under a client's idempotency key, and locks it for settings.checkout_lock_ttl
-- for this request, which creates the Checkout Session and then calls finish_checkout() or abort_checkout().
--   a new key:                     a new order; was_created is true. Older unpaid orders of the same user and product are
--                                  superseded: their sessions are ended through the outbox, those without one expire
--   a known key with a session:    the same order and session, whatever became of it; stripe_session_id is not null
--   a known key without one:       while its request works on it payment_in_progress; after its lock has lapsed (it died, or
--                                  Stripe gave no answer) the same order goes on with the same stripe_idempotency_key
--   ... whose order failed, or was superseded meanwhile: a new order
-- Keys are per user and live for settings.idempotency_ttl. The price is the product's when the order begins, in minor units.
-- Locks: idempotency key -> lock's row -> orders of this user and product, ascending -> outbox insert.
-- Errors: PT400 invalid_request (DETAIL.field: user_id, product_id, idempotency_key, request_id) · PT404 product_not_found ·
--   PT409 payment_in_progress (DETAIL.idempotency_key, retry_after in seconds), idempotency_key_reused (with another product).
create or replace function booking.begin_checkout(
  p_user_id text,
  p_product_id text,
  p_idempotency_key text,
  p_request_id text
)
returns table (
  order_id uuid,
  amount bigint,
  currency text,
  stripe_idempotency_key text,
  stripe_session_id text,
  checkout_url text,
  was_created boolean
)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set jit = off
as $$
#variable_conflict use_column
declare
  v_product booking.products;
  v_settings booking.settings;
  v_hash bytea;
  v_key booking.client_idempotency;
  v_order booking.orders;
  v_older booking.orders;
  v_lock_key text;
  v_is_known boolean;
  v_goes_on boolean := false;
  v_now timestamptz;
begin
  perform booking.require_person('user_id', p_user_id);
  if p_product_id is null or length(p_product_id) not between 1 and 255 then
    perform booking.refuse(400, 'invalid_request', '{"field": "product_id"}', 'Ids of products have 1 to 255 characters.');
  end if;
  if p_idempotency_key is null or length(p_idempotency_key) not between 1 and 255 then
    perform booking.refuse(400, 'invalid_request', '{"field": "idempotency_key"}', 'A key has 1 to 255 characters.');
  end if;
  if p_request_id is null or length(p_request_id) not between 1 and 255 then
    perform booking.refuse(400, 'invalid_request', '{"field": "request_id"}', 'A request''s id has 1 to 255 characters.');
  end if;
  perform set_config('booking.actor', p_user_id, true), set_config('booking.request_id', left(p_request_id, 128), true);
  select s.* into v_settings from booking.settings s;
  v_hash := sha256(convert_to(jsonb_build_array(p_product_id)::text, 'UTF8'));
  v_lock_key := booking.checkout_lock_key(p_user_id, p_product_id);
  order_id := booking.new_id(p_expert_id => p_user_id); -- an order lives in its buyer's shard

  loop
    -- waits for a request with the same key that is still in its transaction
    insert into booking.client_idempotency (scope, user_id, idempotency_key, request_hash, result_id, expires_at, created_at)
    select 'checkout', p_user_id, p_idempotency_key, v_hash, order_id, c.now + v_settings.idempotency_ttl, c.now
    from (select booking.clock() as now) c
    on conflict (scope, user_id, idempotency_key) do nothing;
    v_is_known := not found;
    exit when not v_is_known;
    select k.* into v_key from booking.client_idempotency k
    where k.scope = 'checkout' and k.user_id = p_user_id and k.idempotency_key = p_idempotency_key
    for no key update;
    exit when found; -- else it lapsed and was cleaned away meanwhile
  end loop;
  v_now := booking.clock();

  if v_is_known and v_key.expires_at > v_now then
    if v_key.request_hash <> v_hash then
      perform booking.refuse(409, 'idempotency_key_reused', jsonb_build_object('idempotency_key', p_idempotency_key),
        'This key was used for another product: use a new key for a new purchase.');
    end if;
    select o.* into v_order from booking.orders o where o.id = v_key.result_id;
    v_goes_on := true;
  end if;

  if v_order.stripe_session_id is null then
    if not booking.try_acquire_lock(v_lock_key, p_user_id, p_product_id, p_request_id, v_settings.checkout_lock_ttl) then
      perform booking.refuse(409, 'payment_in_progress',
        jsonb_build_object('idempotency_key', p_idempotency_key, 'retry_after', 5),
        'Payment is already in progress. Please wait.');
    end if;
    if v_goes_on then
      -- only now, with the lock: its first request may have recorded a session meanwhile
      select o.* into v_order from booking.orders o where o.id = v_key.result_id for no key update;
      v_goes_on := v_order.stripe_session_id is not null or v_order.status = 'pending' and v_order.superseded_by is null;
      if v_order.stripe_session_id is not null then
        perform booking.release_lock(v_lock_key, p_request_id);
      end if;
    end if;
  end if;

  if v_goes_on then
    insert into booking.checkout_events (kind, happened_at) values ('repeated', v_now);
    return query select v_order.id, v_order.amount, v_order.currency::text, v_order.id::text, v_order.stripe_session_id,
      v_order.checkout_url, false;
    return;
  end if;

  -- not before: a key that names another purchase is refused as reused, whether or not there is such a product
  select d.* into v_product from booking.products d where d.id = p_product_id;
  if not found then
    perform booking.refuse(404, 'product_not_found', jsonb_build_object('product_id', p_product_id), 'Check the product''s id.');
  end if;
  v_now := booking.clock();
  if v_is_known then
    update booking.client_idempotency k
    set request_hash = v_hash, result_id = order_id, expires_at = v_now + v_settings.idempotency_ttl, created_at = v_now
    where k.scope = 'checkout' and k.user_id = p_user_id and k.idempotency_key = p_idempotency_key;
  end if;
  insert into booking.orders (id, product_id, user_id, amount, currency, created_at, updated_at)
  values (order_id, p_product_id, p_user_id, v_product.amount, v_product.currency, v_now, v_now);
  for v_older in
    select o.* from booking.orders o
    where o.user_id = p_user_id and o.product_id = p_product_id and o.status = 'pending' and o.id <> order_id
    order by o.id
    for no key update
  loop
    update booking.orders o
    set superseded_by = coalesce(o.superseded_by, order_id),
        status = case when o.stripe_session_id is null then 'expired' else o.status end, -- nobody knows where to pay for it
        closed_at = case when o.stripe_session_id is null then v_now end
    where o.id = v_older.id;
    perform booking.queue_session_expiry(v_older.id);
  end loop;

  return query select order_id, v_product.amount, v_product.currency::text, order_id::text, null::text, null::text, true;
end
$$;

revoke all on function booking.begin_checkout(text, text, text, text) from public;
grant execute on function booking.begin_checkout(text, text, text, text) to booking_app;
comment on function booking.begin_checkout(text, text, text, text) is
  'Begins a purchase under an idempotency key and locks it for this request; amounts in minor units';
