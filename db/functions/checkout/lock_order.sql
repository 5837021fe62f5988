-- Locks an order together with those that superseded it or that it superseded, ascending, so that two of them that are paid
-- at once see one another. Returns the order; a null row means that there is none.
-- Internal: granted to nobody. Locks: the orders, ascending. Errors: none.
create or replace function booking.lock_order(p_order_id uuid)
returns booking.orders
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_kin uuid[] := booking.order_kin(p_order_id);
  v_order booking.orders;
begin
  perform from booking.orders o where o.id = any (v_kin) order by o.id for no key update;
  select o.* into v_order from booking.orders o where o.id = p_order_id;
  return v_order;
end
$$;

revoke all on function booking.lock_order(uuid) from public;
comment on function booking.lock_order(uuid) is 'Internal: locks an order and those that it superseded or was superseded by';
