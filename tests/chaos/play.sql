-- What happened to one booking or order, told again with other ids, in any order. Steps are {"do": ..., "event": ...,
-- "object": ..., "hours": ...}; in their objects PAYMENT, BOOKING, ORDER and COMMAND stand for our ids, TAG ends each id of
-- Stripe's. Not part of the product.
create schema play;
create sequence play.tags;

-- A place with seats for everybody, whose price is that of the story.
create function play.slot(p_confirmation text, p_amount bigint, p_hours numeric) returns uuid language plpgsql as $$
declare
  v_expert text := 'expert-' || nextval('play.tags');
begin
  return booking.publish_slot(p_expert_id => v_expert,
    p_session_id => booking.create_session(p_expert_id => v_expert, p_title => 'An hour', p_amount => p_amount, p_currency => 'eur'),
    p_starts_at => now() + p_hours * interval '1 hour', p_ends_at => now() + (p_hours + 1) * interval '1 hour',
    p_capacity => 100000, p_confirmation => p_confirmation);
end
$$;

create function play.booking(p_slot uuid, p_tag text) returns uuid language plpgsql as $$
declare
  v_booking uuid := (select booking_id from booking.create_booking_transaction(p_student_id => 'student-' || p_tag, p_slot_id => p_slot));
  v_payment uuid := (select payment_id from booking.prepare_payment_intent(p_student_id => 'student-' || p_tag, p_booking_id => v_booking));
begin
  perform booking.record_payment_intent(v_payment, 'pi_1TAG' || p_tag);
  return v_booking;
end
$$;

create function play.purchase(p_amount bigint, p_tag text) returns uuid language plpgsql as $$
declare
  v_order uuid;
begin
  perform booking.create_product(p_product_id => 'product-' || p_tag, p_name => 'A book', p_amount => p_amount, p_currency => 'eur');
  select order_id into v_order from booking.begin_checkout(p_user_id => 'student-' || p_tag, p_product_id => 'product-' || p_tag,
    p_idempotency_key => p_tag, p_request_id => p_tag);
  perform booking.finish_checkout(p_order_id => v_order, p_request_id => p_tag, p_stripe_session_id => 'cs_test_1TAG' || p_tag,
    p_url => 'https://checkout.example/' || p_tag);
  return v_order;
end
$$;

-- A booking of the slot, or with p_slot null a purchase, of which nothing was told yet. What comes back is handed from step to step.
create function play.begin(p_slot uuid, p_amount bigint) returns jsonb language plpgsql as $$
declare
  v_tag text := nextval('play.tags')::text;
  v_id uuid;
  v_booking booking.bookings;
  v_order uuid;
begin
  if p_slot is null then
    v_order := play.purchase(p_amount, v_tag);
  else
    v_id := play.booking(p_slot, v_tag);
    select b.* into v_booking from booking.bookings b where b.id = v_id;
  end if;
  return jsonb_build_object('tag', v_tag, 'student', 'student-' || v_tag, 'expert', v_booking.expert_id, 'booking', v_booking.id,
    'payment', v_booking.payment_id, 'order', v_order, 'command', null, 'told', jsonb_build_array());
end
$$;

-- Tells one step. Raises when an event fails, or is a duplicate without having been told before, or the other way round.
create function play.tell(p_now jsonb, p_step jsonb) returns jsonb language plpgsql as $$
declare
  v_now jsonb := p_now;
  v_booking uuid := p_now ->> 'booking';
  v_command uuid := p_now ->> 'command';
  v_step jsonb := replace(replace(replace(replace(replace(p_step::text, 'PAYMENT', coalesce(p_now ->> 'payment', 'PAYMENT')),
    'BOOKING', coalesce(p_now ->> 'booking', 'BOOKING')), 'ORDER', coalesce(p_now ->> 'order', 'ORDER')),
    'COMMAND', coalesce(p_now ->> 'command', 'COMMAND')), 'TAG', 'TAG' || (p_now ->> 'tag'));
  v_answer text;
begin
  case v_step ->> 'do'
    when 'event' then
      v_answer := booking.process_webhook_event(v_step -> 'event');
      if (v_answer = 'duplicate') <> (p_now -> 'told' ? (v_step #>> '{event,id}')) or v_answer = 'failed' then
        raise exception '% of % %: %', v_answer, v_step #>> '{event,type}', v_step #>> '{event,id}',
          (select w.error ->> 'message' from booking.webhook_events w where w.stripe_event_id = v_step #>> '{event,id}');
      end if;
      v_now := jsonb_set(v_now, '{told}', (v_now -> 'told') || (v_step #> '{event,id}'));
    when 'answer' then
      perform booking.complete_stripe_command(v_command, 'play', v_step -> 'object');
    else
      if v_step ->> 'do' = 'cancel' then
        select c.command_id into v_command from booking.cancel_booking_transaction(p_now ->> 'student', v_booking) c;
      else
        select c.command_id into v_command
        from booking.confirm_booking_transaction(p_now ->> 'expert', v_booking, v_step ->> 'do') c;
      end if;
      perform booking.claim_stripe_command(v_command, 'play');
      v_now := jsonb_set(v_now, '{command}', coalesce(to_jsonb(v_command), 'null'));
  end case;
  return v_now;
end
$$;

-- Plays the steps; p_slot null: of an order. Answers what it came to, without what differs from one play to the next.
create function play.play(p_slot uuid, p_amount bigint, p_steps jsonb) returns jsonb language plpgsql as $$
declare
  v_now jsonb := play.begin(p_slot, p_amount);
  v_step jsonb;
begin
  for v_step in select s from jsonb_array_elements(p_steps) s loop
    v_now := play.tell(v_now, v_step);
  end loop;
  return play.outcome(v_now);
end
$$;

-- A row without the times of this transaction: no rule compares one of them with another.
create function play.still(p_row jsonb) returns jsonb language sql stable as $$
  select jsonb_object_agg(e.key, case
    when e.value #>> '{}' ~ '^2\d{3}-\d\d-\d\dT' and (e.value #>> '{}')::timestamptz between now() and now() + interval '1 hour' then '"now"'
    else e.value end)
  from jsonb_each(p_row) e
$$;

-- Everything that the rest of the steps can depend on: every row of the booking or order that a rule reads, but for numbers that
-- were drawn, and for the marks of who caused a row (source, request_id), which no rule of a step reads. What was told is not in it.
create function play.state(p_now jsonb) returns text language plpgsql as $$
declare
  v_booking uuid := p_now ->> 'booking';
  v_payment uuid := p_now ->> 'payment';
  v_order uuid := p_now ->> 'order';
  v_slot uuid := (select b.slot_id from booking.bookings b where b.id = v_booking);
  v_commands uuid[];
  v_rows jsonb;
  v_text text;
begin
  select array_agg(c.id order by c.id),
    jsonb_agg(play.still(to_jsonb(c) - 'request_id') order by c.id)
  into v_commands, v_rows
  from booking.stripe_commands c where c.payment_id = v_payment or c.order_id = v_order;
  v_text := jsonb_build_array(
    v_rows,
    (select jsonb_agg(play.still(to_jsonb(b)) order by b.id) from booking.bookings b
     where b.student_id = p_now ->> 'student'),
    (select jsonb_agg(q.taken order by q.part) from booking.slot_seats q where q.slot_id = v_slot),
    (select jsonb_agg(jsonb_build_array(e.from_status, e.to_status, e.actor, e.reason) order by e.id)
     from booking.booking_events e where e.booking_id = v_booking),
    (select play.still(to_jsonb(p)) from booking.payments p where p.id = v_payment),
    (select jsonb_agg(play.still(to_jsonb(r)) order by r.stripe_refund_id) from booking.refunds r where r.payment_id = v_payment),
    (select jsonb_agg(play.still(to_jsonb(q)) order by q.id) from booking.refund_requests q where q.payment_id = v_payment),
    (select jsonb_agg(play.still(to_jsonb(d)) order by d.stripe_dispute_id) from booking.disputes d where d.payment_id = v_payment),
    (select jsonb_agg(s.held order by s.held) from (
       select jsonb_build_array(t.kind, t.debit_account, t.credit_account, t.amount, t.currency) as held
       from booking.transfers t where t.payment_id = v_payment) s),
    (select jsonb_agg(play.still(to_jsonb(o)) order by o.id) from booking.orders o where o.id = v_order),
    (select jsonb_agg(play.still(to_jsonb(a) - 'id' - 'times') order by a.kind, a.subject) from booking.alerts a),
    (select jsonb_agg(jsonb_build_array(w.stripe_event_id, w.status, w.attempts) order by w.stripe_event_id)
     from booking.webhook_events w where w.stripe_event_id in (select jsonb_array_elements_text(p_now -> 'told'))),
    p_now -> 'command')::text;
  for i in 1 .. coalesce(cardinality(v_commands), 0) loop
    v_text := replace(v_text, v_commands[i]::text, 'command ' || i);
  end loop;
  return md5(v_text);
end
$$;

-- One step more, and the state after it.
create function play.step(p_now jsonb, p_step jsonb, out now jsonb, out state text) language plpgsql as $$
begin
  now := play.tell(p_now, p_step);
  state := play.state(now);
end
$$;

-- Tells events that were told before; the state after it.
create function play.again(p_now jsonb, p_steps jsonb) returns text language plpgsql as $$
declare
  v_step jsonb;
begin
  for v_step in select s from jsonb_array_elements(p_steps) s loop
    perform play.tell(p_now, v_step);
  end loop;
  return play.state(p_now);
end
$$;

create function play.outcome(p_now jsonb) returns jsonb language sql as $$
  select replace(jsonb_build_object(
    'booking', (select jsonb_agg(jsonb_build_array(b.status, b.cancelled_by, b.cancellation_reason, b.refund_percent))
                from booking.bookings b where b.payment_id = n.payment),
    'payment', (select jsonb_build_array(p.status, p.amount_captured, p.amount_refunded, p.charge_refunded,
                  p.stripe_payment_intent_id, p.stripe_charge_id, p.capture_before, p.stripe_cancelled_at is not null)
                from booking.payments p where p.id = n.payment),
    'order', (select jsonb_build_array(o.status, o.stripe_session_id, o.stripe_payment_intent_id, o.paid_at is not null, o.last_error)
              from booking.orders o where o.id = n.purchase),
    'commands', (select jsonb_agg(jsonb_build_array(c.operation, c.status, c.params - 'metadata') order by c.id)
                 from booking.stripe_commands c where (c.payment_id = n.payment or c.order_id = n.purchase) and c.status <> 'done'),
    'ledger', (select jsonb_build_object(
                 'captured', coalesce(sum(t.amount) filter (where t.kind = 'capture'), 0),
                 'refunded', coalesce(sum(case t.kind when 'refund' then t.amount when 'refund_reversal' then -t.amount end), 0))
               from booking.transfers t where t.payment_id = n.payment),
    'refunds', (select jsonb_agg(jsonb_build_array(r.stripe_refund_id, r.amount, r.status, r.failure_reason, r.command_id is not null)
                  order by r.stripe_refund_id) from booking.refunds r where r.payment_id = n.payment),
    'disputes', (select jsonb_agg(jsonb_build_array(d.stripe_dispute_id, d.amount, d.status) order by d.stripe_dispute_id)
                 from booking.disputes d where d.payment_id = n.payment),
    'alerts', (select jsonb_agg(a.kind order by a.kind) from booking.alerts a
               where a.detail ->> 'payment_id' = n.payment::text or a.subject in (n.payment::text, n.purchase::text))
  )::text, 'TAG' || n.tag, 'TAG')::jsonb
  from (select (p_now ->> 'payment')::uuid as payment, (p_now ->> 'order')::uuid as purchase, p_now ->> 'tag' as tag) n
$$;
