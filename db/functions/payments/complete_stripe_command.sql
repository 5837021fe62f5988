-- Records that Stripe did what a command asked. p_response is Stripe's object; it is applied like an event, also when
-- the lease was lost meanwhile, since it is true all the same. Returns whether this worker still held the command.
-- Locks: (seat counter ->) booking -> payment -> command. Of an order: orders ascending -> command.
-- Errors: PT400 invalid_request (DETAIL.field response) · PT404 command_not_found.
create or replace function booking.complete_stripe_command(p_command_id uuid, p_worker text, p_response jsonb)
returns boolean
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_command booking.stripe_commands;
  v_booking booking.bookings;
  v_held boolean;
begin
  if p_response is null or jsonb_typeof(p_response) <> 'object' or p_response ->> 'id' is null then
    perform booking.refuse(400, 'invalid_request', '{"field": "response"}', 'Give the object that Stripe returned.');
  end if;
  select c.* into v_command from booking.stripe_commands c where c.id = p_command_id;
  if not found then
    perform booking.refuse(404, 'command_not_found', jsonb_build_object('command_id', p_command_id), 'Check the command''s id.');
  end if;
  perform set_config('booking.actor', 'stripe', true),
    set_config('booking.request_id', coalesce(v_command.request_id, p_command_id::text), true);
  if v_command.order_id is not null then
    perform booking.lock_order(v_command.order_id);
  else
    v_booking := booking.lock_payment(v_command.payment_id, p_response ->> 'status' = 'canceled');
  end if;

  update booking.stripe_commands c
  set status = 'done', outcome = 'applied', locked_by = null, lease_until = null, last_error = null
  where c.id = p_command_id and c.status = 'running' and c.locked_by = p_worker;
  v_held := found;

  if v_command.order_id is not null then
    perform booking.apply_checkout_session(p_response, null);
    return v_held;
  end if;
  -- which kind of object it is follows from what was asked
  perform booking.apply_stripe_object(
    p_response || jsonb_build_object('object',
      case v_command.operation when 'create_refund' then 'refund' else 'payment_intent' end),
    null, booking.clock(), p_command_id::text, v_command.payment_id, v_command.stripe_id, p_is_locked => true);
  perform booking.settle_payment(v_booking.id);
  return v_held;
end
$$;

revoke all on function booking.complete_stripe_command(uuid, text, jsonb) from public;
grant execute on function booking.complete_stripe_command(uuid, text, jsonb) to booking_app;
comment on function booking.complete_stripe_command(uuid, text, jsonb) is
  'Records that Stripe did what a command asked and applies the object it returned; false when the lease was lost';
