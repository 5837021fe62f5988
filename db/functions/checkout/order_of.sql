-- Which order a Checkout Session of Stripe's belongs to: by metadata.order_id, else by the session's id. Null: none of ours.
-- Internal: granted to nobody. Locks: none. Errors: none.
create or replace function booking.order_of(p_object jsonb)
returns uuid
language sql stable security definer
set search_path = pg_catalog, pg_temp
as $$
  select coalesce(
    (select o.id from booking.orders o
     -- other systems at the same Stripe account have metadata of their own
     where o.id = case when p_object #>> '{metadata,order_id}' ~* '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$'
                       then (p_object #>> '{metadata,order_id}')::uuid end),
    (select o.id from booking.orders o where o.stripe_session_id = p_object ->> 'id'))
$$;

revoke all on function booking.order_of(jsonb) from public;
comment on function booking.order_of(jsonb) is 'Internal: which order a Checkout Session belongs to';
