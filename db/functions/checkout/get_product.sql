-- A product on sale: its name and its price in minor units. Locks: none. Errors: PT404 product_not_found.
create or replace function booking.get_product(p_product_id text)
returns table (product_id text, name text, amount bigint, currency text, created_at timestamptz)
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set jit = off
as $$
#variable_conflict use_column
begin
  return query
    select d.id, d.name, d.amount, d.currency::text, d.created_at from booking.products d where d.id = p_product_id;
  if not found then
    perform booking.refuse(404, 'product_not_found', jsonb_build_object('product_id', p_product_id), 'Check the product''s id.');
  end if;
end
$$;

revoke all on function booking.get_product(text) from public;
grant execute on function booking.get_product(text) to booking_app, booking_dba;
comment on function booking.get_product(text) is 'A product on sale: its name and price in minor units';
