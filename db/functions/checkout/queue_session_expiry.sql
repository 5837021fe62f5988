-- Asks Stripe, through the outbox, to end an order's Checkout Session: nobody shall pay there any more. Once for each order:
-- a command that is open, dead or done is not repeated. Returns the command, or null where nothing was queued.
-- Internal: granted to nobody. Locks: outbox insert (the caller holds the order). Errors: none.
create or replace function booking.queue_session_expiry(p_order_id uuid)
returns uuid
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_id uuid := booking.new_id(p_near => p_order_id);
  v_now timestamptz := booking.clock();
begin
  insert into booking.stripe_commands as c (id, order_id, operation, stripe_id, run_at, created_at, updated_at)
  select v_id, o.id, 'expire_checkout_session', o.stripe_session_id, v_now, v_now, v_now
  from booking.orders o
  where o.id = p_order_id and o.stripe_session_id is not null
    and not exists (select from booking.stripe_commands x where x.order_id = o.id)
  on conflict (stripe_id) where c.status in ('pending', 'running') do nothing
  returning c.id into v_id;
  return v_id;
end
$$;

revoke all on function booking.queue_session_expiry(uuid) from public;
comment on function booking.queue_session_expiry(uuid) is 'Internal: asks Stripe through the outbox to end an order''s Checkout Session';
