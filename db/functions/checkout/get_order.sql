-- One order, for the user who bought: where it stands, what it cost (minor units), where it is paid.
-- Locks: none. Errors: PT403 not_your_order · PT404 order_not_found.
create or replace function booking.get_order(p_user_id text, p_order_id uuid)
returns table (
  order_id uuid,
  product_id text,
  user_id text,
  status booking.order_status,
  amount bigint,
  currency text,
  stripe_session_id text,
  checkout_url text,
  stripe_payment_intent_id text,
  superseded_by uuid,
  expires_at timestamptz,
  paid_at timestamptz,
  created_at timestamptz,
  updated_at timestamptz
)
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set jit = off
as $$
#variable_conflict use_column
declare
  v_order booking.orders;
begin
  select o.* into v_order from booking.orders o where o.id = p_order_id;
  if not found then
    perform booking.refuse(404, 'order_not_found', jsonb_build_object('order_id', p_order_id), 'Check the order''s id.');
  end if;
  if v_order.user_id is distinct from p_user_id then
    perform booking.refuse(403, 'not_your_order', jsonb_build_object('order_id', p_order_id), 'Only its buyer sees an order.');
  end if;
  return query select v_order.id, v_order.product_id, v_order.user_id, v_order.status, v_order.amount, v_order.currency::text,
    v_order.stripe_session_id, v_order.checkout_url, v_order.stripe_payment_intent_id, v_order.superseded_by,
    v_order.expires_at, v_order.paid_at, v_order.created_at, v_order.updated_at;
end
$$;

revoke all on function booking.get_order(text, uuid) from public;
grant execute on function booking.get_order(text, uuid) to booking_app;
comment on function booking.get_order(text, uuid) is 'One order, for the user who bought; amounts in minor units, times UTC';
