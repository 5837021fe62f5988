-- Puts a product on sale: its own id (yours), a name that the customer sees at Stripe, a price in minor units.
-- The currency is kept in lower case; the amount must be a multiple of booking.currency_step(). The same again changes nothing.
-- Returns the product's id. Locks: the product's row -> audit insert.
-- Errors: PT400 invalid_request (DETAIL.field: product_id, name, amount, currency) ·
--   PT409 product_exists (under that id, with another name or price).
create or replace function booking.create_product(p_product_id text, p_name text, p_amount bigint, p_currency text)
returns text
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set jit = off
as $$
declare
  v_now timestamptz := booking.clock();
begin
  if p_product_id is null or length(p_product_id) not between 1 and 255 then
    perform booking.refuse(400, 'invalid_request', '{"field": "product_id"}', 'Ids of products have 1 to 255 characters.');
  end if;
  if p_name is null or length(btrim(p_name)) not between 1 and 200 then
    perform booking.refuse(400, 'invalid_request', '{"field": "name"}', 'A name has 1 to 200 characters.');
  end if;
  perform booking.require_price(p_amount, p_currency);

  insert into booking.products (id, name, amount, currency, created_at, updated_at)
  values (p_product_id, btrim(p_name), p_amount, lower(p_currency), v_now, v_now)
  on conflict (id) do nothing;
  if found then
    perform booking.audit('product.created', p_product_id, null, jsonb_build_object('amount', p_amount, 'currency', lower(p_currency)));
    return p_product_id;
  end if;
  perform from booking.products d
  where d.id = p_product_id and d.name = btrim(p_name) and d.amount = p_amount and d.currency = lower(p_currency);
  if not found then
    perform booking.refuse(409, 'product_exists', jsonb_build_object('product_id', p_product_id),
      'Another product has this id: choose a new one.');
  end if;
  return p_product_id;
end
$$;

revoke all on function booking.create_product(text, text, bigint, text) from public;
grant execute on function booking.create_product(text, text, bigint, text) to booking_app, booking_dba;
comment on function booking.create_product(text, text, bigint, text) is
  'Puts a product on sale at a price in minor units; returns its id';
