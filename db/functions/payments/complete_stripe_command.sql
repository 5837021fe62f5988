-- Records that Stripe did what a command asked. p_response is Stripe's object; it is applied like an event, also when
-- the lease was lost meanwhile, since it is true all the same. Returns whether this worker still held the command.
-- Locks: (seat counter ->) booking -> payment -> command. Of an order: orders ascending -> command.
-- Errors: PT400 invalid_request (DETAIL.field response) · PT404 command_not_found.
create or replace function booking.complete_stripe_command(p_command_id uuid, p_worker text, p_response jsonb)
returns boolean
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set jit = off
as $$
declare
  v_payment_id uuid;
  v_order_id uuid;
  v_operation text;
  v_stripe_id text;
  v_request_id text;
  v_kind text;
  v_is_applied boolean;
  v_booking booking.bookings;
  v_held boolean;
begin
  if p_response is null or jsonb_typeof(p_response) <> 'object' or p_response ->> 'id' is null then
    perform booking.refuse(400, 'invalid_request', '{"field": "response"}', 'Give the object that Stripe returned.');
  end if;
  select c.payment_id, c.order_id, c.operation, c.stripe_id, coalesce(c.request_id, p_command_id::text)
  into v_payment_id, v_order_id, v_operation, v_stripe_id, v_request_id
  from booking.stripe_commands c where c.id = p_command_id;
  if not found then
    perform booking.refuse(404, 'command_not_found', jsonb_build_object('command_id', p_command_id), 'Check the command''s id.');
  end if;
  -- an assignment: perform would run a query
  v_request_id := set_config('booking.actor', 'stripe', true) || set_config('booking.request_id', v_request_id, true);
  -- which kind of object it is follows from what was asked; to say it again would write the whole object anew
  v_kind := case v_operation when 'create_refund' then 'refund' else 'payment_intent' end;
  if p_response ->> 'object' is distinct from v_kind then
    p_response := p_response || jsonb_build_object('object', v_kind);
  end if;
  v_is_applied := v_operation = 'capture_payment_intent'
    and p_response ->> 'status' = 'succeeded' -- one that was canceled frees the seat, which is locked before the booking
    and booking.apply_capture(v_payment_id, p_response, p_command_id::text);
  if v_order_id is not null then
    perform booking.lock_order(v_order_id);
  elsif not v_is_applied then
    v_booking := booking.lock_payment(v_payment_id, p_response ->> 'status' = 'canceled');
  end if;

  update booking.stripe_commands c
  set status = 'done', outcome = 'applied', locked_by = null, lease_until = null, last_error = null
  where c.id = p_command_id and c.status = 'running' and c.locked_by = p_worker;
  v_held := found;

  if v_order_id is not null then
    perform booking.apply_checkout_session(p_response, null);
  elsif not v_is_applied then
    perform booking.apply_stripe_object(p_response, null, booking.clock(), p_command_id::text, v_payment_id, v_stripe_id,
      p_is_locked => true);
    perform booking.settle_payment(v_booking.id);
  end if;
  return v_held;
end
$$;

revoke all on function booking.complete_stripe_command(uuid, text, jsonb) from public;
grant execute on function booking.complete_stripe_command(uuid, text, jsonb) to booking_app;
comment on function booking.complete_stripe_command(uuid, text, jsonb) is
  'Records that Stripe did what a command asked and applies the object it returned; false when the lease was lost';
