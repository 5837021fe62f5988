-- Records that a call did not do what a command asked, or that nobody knows. p_error is Stripe's error object with
-- http_status (absent: no answer came) and idempotent_replayed; its payment_intent (of a command for an order: its
-- checkout_session) is applied like an event. Judgement:
--   the PaymentIntent, or the session, shows the effect                      -> done (applied)
--   it shows that the effect can never come, with a listed code -> done (refused), and the booking follows; a session that
--     is complete cannot be expired any more, whatever the code
--   a refund for a request, not to be tried again, and certainly not made -> done (refused), and the request is pending again
--   a refund by the policy, refused because of a dispute that we know of   -> done (refused): it waits for the dispute
--   error type gateway_busy: nothing was sent               -> pending again, not counted as an attempt
--   error type looked_up: nothing was sent, Stripe was asked -> the same, and its turn (run_at) stays what it was
--   p_retryable                                             -> pending again, exponential backoff with jitter, at least
--     p_retry_after; the same key while the outcome is unknown (no answer, 401, 403, 409, 429, a 5xx that was not
--     replayed), a new key once it is known that nothing happened; after the last attempt dead. 401 and 403 alert,
--     count as no attempt beyond the first and wait 64 times the first backoff: a rotated key must not end anybody's booking
--   otherwise                                               -> dead, with an alert; the money's trail stays
-- Source of the codes: Stripe, "Error codes". Returns whether this worker still held the command.
-- Locks: (seat counter ->) booking -> payment -> command -> alert. Of an order: orders ascending -> command
-- -> alert.
-- Errors: PT400 invalid_request (DETAIL.field error, retryable) · PT404 command_not_found.
create or replace function booking.fail_stripe_command(
  p_command_id uuid,
  p_worker text,
  p_error jsonb,
  p_retryable boolean,
  p_retry_after interval default null
)
returns boolean
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set jit = off
as $$
declare
  v_final_codes constant text[] := array['charge_expired_for_capture', 'capture_charge_authorization_expired',
    'payment_intent_unexpected_state', 'charge_already_captured', 'charge_already_refunded', 'charge_disputed',
    'intent_invalid_state'];
  v_command booking.stripe_commands;
  v_settings booking.settings;
  v_booking booking.bookings;
  v_intent jsonb;
  v_intent_status text;
  v_session jsonb;
  v_order_id uuid;
  v_error jsonb;
  v_http int;
  v_outcome booking.command_outcome;
  v_is_auth boolean;
  v_known_void boolean;
  v_now timestamptz;
  v_delay interval;
begin
  if p_error is null or jsonb_typeof(p_error) <> 'object' then
    perform booking.refuse(400, 'invalid_request', '{"field": "error"}', 'Give Stripe''s error object.');
  end if;
  if p_retryable is null then
    perform booking.refuse(400, 'invalid_request', '{"field": "retryable"}', 'Say whether another attempt makes sense.');
  end if;
  select c.* into v_command from booking.stripe_commands c where c.id = p_command_id;
  if not found then
    perform booking.refuse(404, 'command_not_found', jsonb_build_object('command_id', p_command_id), 'Check the command''s id.');
  end if;
  select s.* into v_settings from booking.settings s;
  v_order_id := v_command.order_id;
  v_error := p_error - 'payment_intent' - 'checkout_session';

  if jsonb_typeof(p_error -> 'payment_intent') = 'object'
    and p_error #>> '{payment_intent,id}' is not distinct from v_command.stripe_id
  then
    v_intent := p_error -> 'payment_intent';
    v_intent_status := v_intent ->> 'status';
  end if;
  if v_order_id is not null and jsonb_typeof(p_error -> 'checkout_session') = 'object'
    and p_error #>> '{checkout_session,id}' is not distinct from v_command.stripe_id
  then
    v_session := p_error -> 'checkout_session';
  end if;
  v_http := (p_error ->> 'http_status')::int;
  v_is_auth := coalesce(v_http in (401, 403), false);
  v_known_void := coalesce(v_http between 400 and 499 and v_http not in (401, 403, 409, 429)
    or v_http >= 500 and (p_error ->> 'idempotent_replayed')::boolean, false);
  v_outcome := (case
    when v_command.operation = 'capture_payment_intent' and v_intent_status = 'succeeded' then 'applied'
    when v_command.operation = 'cancel_payment_intent' and v_intent_status = 'canceled' then 'applied'
    when v_session ->> 'status' = 'expired' then 'applied'
    when v_session ->> 'status' = 'complete' then 'refused'
    when v_command.refund_request_id is not null and v_known_void and not p_retryable then 'refused'
    when not coalesce(p_error ->> 'code' = any (v_final_codes), false) then null
    when v_command.operation = 'capture_payment_intent' and v_intent_status in ('canceled', 'requires_payment_method') then 'refused'
    when v_command.operation = 'cancel_payment_intent' and v_intent_status = 'succeeded' then 'refused'
  end)::booking.command_outcome;

  perform set_config('booking.actor', 'stripe', true),
    set_config('booking.request_id', coalesce(v_command.request_id, p_command_id::text), true);
  if v_order_id is not null then
    perform booking.lock_order(v_order_id);
  else
    if v_intent_status = 'succeeded' then
      perform booking.lock_free_seat(v_command.payment_id); -- paid although its hold had lapsed: the seat comes first
    end if;
    v_booking := booking.lock_payment(v_command.payment_id, coalesce(v_intent_status in ('canceled', 'requires_payment_method'), false));
  end if;
  v_now := booking.clock();
  select c.* into v_command from booking.stripe_commands c
  where c.id = p_command_id and c.status = 'running' and c.locked_by = p_worker
  for no key update;
  if found then
    if v_outcome is null and v_command.operation = 'create_refund' and v_known_void and not p_retryable
      and p_error ->> 'code' = 'charge_disputed' and booking.is_refund_held(v_command.payment_id)
      and exists (select from booking.payments p
                  where p.id = v_command.payment_id and p.stripe_payment_intent_id = v_command.stripe_id)
    then
      v_outcome := 'refused';
    end if;
    if v_outcome is not null then
      update booking.stripe_commands c
      set status = 'done', outcome = v_outcome, locked_by = null, lease_until = null, last_error = v_error
      where c.id = p_command_id;
    elsif p_error ->> 'type' in ('gateway_busy', 'looked_up') then
      update booking.stripe_commands c
      set status = 'pending', locked_by = null, lease_until = null, attempts = c.attempts - 1,
          run_at = case when p_error ->> 'type' = 'looked_up' then c.run_at else v_now + coalesce(p_retry_after, v_settings.command_backoff) end
      where c.id = p_command_id;
    elsif v_is_auth or p_retryable and v_command.attempts < v_settings.command_max_attempts then
      v_delay := least(v_settings.command_backoff_cap, v_settings.command_backoff * (0.5 + random() / 2)
        * power(2, case when v_is_auth then 6 else least(v_command.attempts - 1, 30) end));
      update booking.stripe_commands c
      set status = 'pending', locked_by = null, lease_until = null, last_error = v_error,
          attempts = case when v_is_auth then greatest(1, c.attempts - 1) else c.attempts end, -- sent at least once
          run_at = v_now + greatest(v_delay, p_retry_after), key_generation = c.key_generation + v_known_void::int
      where c.id = p_command_id;
    else
      update booking.stripe_commands c
      set status = 'dead', locked_by = null, lease_until = null, last_error = v_error
      where c.id = p_command_id;
    end if;
  end if;

  if v_session is not null then
    perform booking.apply_checkout_session(v_session, null);
  elsif v_intent is not null and v_order_id is null then
    perform booking.apply_stripe_object(v_intent, null, v_now, p_command_id::text, v_booking.payment_id, v_command.stripe_id,
      p_is_locked => true);
  end if;
  if v_outcome = 'refused' and v_command.operation = 'capture_payment_intent' and v_intent_status = 'requires_payment_method' then
    perform booking.lose_hold(v_booking.id, v_now);
  end if;
  if v_outcome = 'refused' and v_command.refund_request_id is not null then
    perform booking.reopen_refund_request(v_command.refund_request_id, 'refused');
  end if;
  if v_order_id is null then
    perform booking.close_fulfilled_commands(v_booking.payment_id); -- what refuses it may be what fulfilled it
    perform booking.settle_payment(v_booking.id);
  end if;

  -- dead unless the wish had come true
  if v_command.id is not null and booking.get_stripe_command_status(p_command_id) = 'dead' then
    perform booking.raise_alert('command_dead', p_command_id::text, jsonb_build_object('operation', v_command.operation,
      'stripe_id', v_command.stripe_id, 'code', p_error ->> 'code', 'http_status', v_http));
  end if;
  if v_is_auth then
    perform booking.raise_alert('stripe_credentials', 'stripe', jsonb_build_object('http_status', v_http, 'code', p_error ->> 'code'));
  end if;
  return v_command.id is not null;
end
$$;

revoke all on function booking.fail_stripe_command(uuid, text, jsonb, boolean, interval) from public;
grant execute on function booking.fail_stripe_command(uuid, text, jsonb, boolean, interval) to booking_app;
comment on function booking.fail_stripe_command(uuid, text, jsonb, boolean, interval) is
  'Records a call to Stripe that failed or whose outcome is unknown; decides on the next attempt';
