-- The orders that superseded one another, of which an order is one: itself, the older ones that it replaced, the newer ones
-- that replaced it. Only one of them should ever be paid.
-- Internal: granted to nobody. Locks: none. Errors: none.
create or replace function booking.order_kin(p_order_id uuid)
returns uuid[]
language sql stable security definer
set search_path = pg_catalog, pg_temp
as $$
  with recursive kin as (
    select o.id, o.superseded_by from booking.orders o where o.id = p_order_id
    union
    select o.id, o.superseded_by
    from kin k join booking.orders o on o.id = k.superseded_by or o.superseded_by = k.id
  )
  select array_agg(k.id order by k.id) from kin k
$$;

revoke all on function booking.order_kin(uuid) from public;
comment on function booking.order_kin(uuid) is 'Internal: the orders that superseded one another, of which this is one';
