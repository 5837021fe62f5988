-- Applies a Stripe event whose signature was checked: claims its id, applies its effect, records both in one commit.
-- processed: it had its effect; duplicate: it was dealt with before; ignored: not ours or of no interest, kept for the
-- record; failed: the effect could not be applied, the error is on the event's row and Stripe should send it again.
-- Deadlock, serialization, lock and statement timeouts are passed on, not recorded: the same delivery may succeed later.
-- The one hot function with an exception block (a subtransaction), to record what failed. Call it under a statement_timeout.
-- enable_seqscan: a plan that was made while a table was still empty must not scan it when it has grown. jit: before version 18
-- PostgreSQL takes a scan of the settings' one row for immensely dear then, and compiles it, a quarter of a second each time.
-- Locks: event row -> (seat counter ->) booking -> payment -> outbox insert. Of an order: event row -> orders
-- ascending -> commands, outbox insert -> alerts.
-- Errors: PT400 invalid_request (DETAIL.field id, type, data.object).
create or replace function booking.process_webhook_event(p_event jsonb)
returns text
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set jit = off
as $$
declare
  v_id text := p_event ->> 'id';
  v_type text := p_event ->> 'type';
  v_object jsonb := p_event #> '{data,object}';
  v_is_ours boolean;
  v_status booking.webhook_status;
  v_is_repeat boolean := false;
  v_now timestamptz;
  v_message text;
  v_state text;
  v_detail text;
  v_context text;
begin
  if v_id is null or length(v_id) not between 1 and 255 or v_type is null or length(v_type) not between 1 and 255
    or v_object is null or jsonb_typeof(v_object) <> 'object'
  then
    if v_id is null or length(v_id) not between 1 and 255 then
      perform booking.refuse(400, 'invalid_request', '{"field": "id"}', 'An event has an id.');
    end if;
    if v_type is null or length(v_type) not between 1 and 255 then
      perform booking.refuse(400, 'invalid_request', '{"field": "type"}', 'An event has a type.');
    end if;
    perform booking.refuse(400, 'invalid_request', '{"field": "data.object"}', 'An event carries an object.');
  end if;

  select w.status into v_status from booking.webhook_events w where w.stripe_event_id = v_id;
  if not found then
    perform from booking.webhook_events_archive a where a.stripe_event_id = v_id;
    v_is_repeat := found;
  else
    v_is_repeat := v_status <> 'failed';
  end if;
  if v_is_repeat then
    if current_setting('synchronous_standby_names') <> '' then -- await_standby() asks too, but a call costs more than the rest
      perform booking.await_standby();
    end if;
    return 'duplicate';
  end if;

  -- the most common one on its own: asking the list makes a hash table of it
  v_status := case when v_type = 'payment_intent.amount_capturable_updated' or v_type in (
    'payment_intent.amount_capturable_updated', 'payment_intent.succeeded', 'payment_intent.processing',
    'payment_intent.requires_action', 'payment_intent.payment_failed', 'payment_intent.canceled',
    'charge.succeeded', 'charge.captured', 'charge.refunded', 'charge.expired',
    'refund.created', 'refund.updated', 'refund.failed',
    'charge.dispute.created', 'charge.dispute.updated', 'charge.dispute.closed',
    'checkout.session.completed', 'checkout.session.expired',
    'checkout.session.async_payment_succeeded', 'checkout.session.async_payment_failed')
    then 'processed'::booking.webhook_status else 'ignored'::booking.webhook_status end;
  v_now := booking.clock();
  -- waits for a delivery of the same event that is still running
  insert into booking.webhook_events (stripe_event_id, event_type, status, payload, received_at, updated_at)
  values (v_id, v_type, v_status, p_event, v_now, v_now)
  on conflict (stripe_event_id) do nothing;
  if found then
    insert into booking.stat_deltas (metric, at, quantity) values ('webhooks', v_now, 1);
  else
    perform from booking.webhook_events w where w.stripe_event_id = v_id and w.status = 'failed' for no key update;
    if not found then
      return 'duplicate';
    end if;
    v_is_repeat := true;
  end if;
  if v_status = 'ignored' then
    return 'ignored';
  end if;

  -- an assignment: perform would run a query
  v_context := set_config('booking.actor', 'stripe', true) || set_config('booking.request_id', v_id, true);
  begin
    v_is_ours := v_type = 'payment_intent.amount_capturable_updated' and booking.apply_hold(v_object);
    if not v_is_ours then
      v_is_ours := case
        when v_type like 'checkout.session.%' then booking.apply_checkout_session(v_object, v_type)
        else booking.apply_stripe_object(v_object, v_type, coalesce(to_timestamp((p_event ->> 'created')::double precision), v_now), v_id)
      end;
      if not v_is_ours then
        v_status := 'ignored';
      end if;
    end if;
  exception
    when deadlock_detected or serialization_failure or lock_not_available or query_canceled or operator_intervention
      or insufficient_resources or connection_exception then
      raise;
    when others then
      get stacked diagnostics v_message = message_text, v_state = returned_sqlstate,
        v_detail = pg_exception_detail, v_context = pg_exception_context;
      v_status := 'failed';
  end;

  if v_is_repeat or v_status <> 'processed' then
    update booking.webhook_events w
    set status = v_status, attempts = w.attempts + v_is_repeat::int,
        error = case when v_status = 'failed' then jsonb_build_object('sqlstate', v_state, 'message', v_message,
          'detail', v_detail, 'context', v_context) end
    where w.stripe_event_id = v_id;
    if v_status = 'failed' then
      perform booking.raise_alert('webhook_failed', v_id, jsonb_build_object('type', v_type, 'message', v_message));
    elsif v_is_repeat then
      update booking.alerts a set resolved_at = booking.clock(), resolved_by = 'retry'
      where a.kind = 'webhook_failed' and a.subject = v_id and a.resolved_at is null;
    end if;
  end if;
  return v_status::text;
end
$$;

revoke all on function booking.process_webhook_event(jsonb) from public;
grant execute on function booking.process_webhook_event(jsonb) to booking_app;
comment on function booking.process_webhook_event(jsonb) is
  'Applies a Stripe event exactly once, whatever the order of arrival: processed, duplicate, ignored or failed';
