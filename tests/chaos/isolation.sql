-- What specs of the isolation tester share: one booking a permutation, what may happen to it, and what became of it.
-- Loaded after tests/sql/helpers/test_builders.sql, as superuser; the steps run as the application's roles.
create schema tester;
grant usage on schema tester to booking_app, booking_cron;

-- PaymentIntents that Stripe really has, for permutations whose outbox is worked off at the sandbox afterwards.
create table tester.intents (number int generated always as identity primary key, id text not null);
create table tester.events (intent text not null, name text not null, event jsonb not null);

-- The booking of this permutation. command: the one that worker w holds; request: one that waits for an administrator.
create table tester.here (
  booking uuid, slot uuid, student text, expert text, payment uuid, intent text, command uuid, request uuid, refund text,
  alerts_before bigint
);
grant select on tester.here to booking_app, booking_cron;

-- Every edge that a payment went along, whatever the guards of the product say.
create table tester.edges (number bigint generated always as identity, payment uuid, was text, became text);
create function tester.note_edge() returns trigger language plpgsql security definer as $$
begin
  insert into tester.edges (payment, was, became) values (new.id, old.status, new.status);
  return null;
end
$$;
create trigger zz_note_edge after update of status on booking.payments
  for each row when (old.status <> new.status) execute function tester.note_edge();

-- What became of the bookings, in the order of the permutations.
create table tester.results (number int generated always as identity, booking uuid, found jsonb, trail text[], edges text[]);

-- Begins a permutation: a booking that has come as far as `p_start` says, and is due for the cleanup while it is pending.
create function tester.open(p_start text) returns void language plpgsql as $$
declare
  v_slot uuid := test.make_slot('10 hours', 1, case when p_start in ('instant', 'lapsed') then 'instant' else 'expert' end);
  v_booking uuid := test.book(v_slot);
  v_payment uuid;
  v_intent text;
  v_command uuid;
  v_request uuid;
  v_refund text;
begin
  select t.payment_id into v_payment from booking.prepare_payment_intent(test.student(v_booking), v_booking) t;
  delete from tester.intents i where i.number = (select min(j.number) from tester.intents j) returning i.id into v_intent;
  v_intent := coalesce(v_intent, test.intent_id(v_booking));
  perform booking.record_payment_intent(v_payment, v_intent);
  if p_start in ('authorized', 'confirmed') then
    perform test.authorize(v_booking);
  elsif p_start in ('captured', 'refunding') then
    perform test.capture(v_booking);
  end if;
  if p_start = 'confirmed' then
    v_command := test.confirm(v_booking);
  elsif p_start = 'captured' then
    v_request := test.ask(v_booking, 2000);
  elsif p_start = 'refunding' then
    select c.command_id into v_command from booking.cancel_booking_transaction(test.student(v_booking), v_booking) c;
    v_refund := 're_' || replace(v_command::text, '-', '');
  elsif p_start = 'lapsed' then
    perform test.lapse(v_booking);
  end if;
  if v_command is not null then
    perform from booking.claim_stripe_command(v_command, 'w');
  end if;
  update booking.bookings b set created_at = b.created_at - interval '1 hour' where b.id = v_booking and b.status = 'pending';
  delete from tester.here;
  insert into tester.here
  select v_booking, v_slot, b.student_id, b.expert_id, v_payment, v_intent, v_command, v_request, v_refund,
    (select coalesce(max(a.id), 0) from booking.alerts a)
  from booking.bookings b where b.id = v_booking;
end
$$;

-- Tells an event; one that is told to come again (nothing was written) comes again at once, as Stripe does later.
create function tester.tell(p_name text) returns text language plpgsql as $$
begin
  for i in 1 .. 1000 loop
    begin
      return booking.process_webhook_event(tester.event(p_name));
    exception when serialization_failure then
      perform pg_sleep(0.01);
    end;
  end loop;
  raise exception '% had to come again a thousand times', p_name;
end
$$;

-- An event of Stripe about this booking's payment; the same name is the same event.
create function tester.event(p_name text) returns jsonb language plpgsql security definer as $$
declare
  h tester.here;
  v_type text;
  v_object jsonb;
  v_event jsonb;
begin
  select * into h from tester.here;
  select e.event into v_event from tester.events e where e.intent = h.intent and e.name = p_name;
  if v_event is not null then
    return v_event;
  end if;
  v_type := case p_name
    when 'authorized' then 'payment_intent.amount_capturable_updated'
    when 'captured' then 'payment_intent.succeeded'
    when 'canceled' then 'payment_intent.canceled'
    when 'failed' then 'payment_intent.payment_failed'
    when 'charge_captured' then 'charge.captured'
    when 'expired' then 'charge.expired'
    when 'released' then 'charge.refunded'
    when 'refunded' then 'charge.refunded'
    when 'refund_made' then 'refund.created'
    when 'refund_failed' then 'refund.failed'
    when 'disputed' then 'charge.dispute.created'
    when 'dispute_won' then 'charge.dispute.closed'
    when 'dispute_lost' then 'charge.dispute.closed'
  end;
  v_object := case
    when p_name = 'authorized' then test.intent(h.booking, 'requires_capture')
    when p_name = 'captured' then test.intent(h.booking, 'succeeded')
    when p_name = 'canceled' then test.intent(h.booking, 'canceled')
    when p_name = 'failed' then test.intent(h.booking, 'requires_payment_method')
    when p_name = 'charge_captured' then test.charge(h.booking, true)
    when p_name in ('expired', 'released') then test.charge(h.booking, false, 5000)
    when p_name = 'refunded' then test.charge(h.booking, true, 2500)
    when p_name like 'refund\_%' then
      test.refund(h.booking, 2500, h.refund, case p_name when 'refund_made' then 'succeeded' else 'failed' end, h.command)
    else jsonb_build_object('id', 'dp_' || replace(h.booking::text, '-', ''), 'object', 'dispute', 'amount', 5000,
      'currency', 'usd', 'reason', 'fraudulent', 'payment_intent', h.intent,
      'status', case p_name when 'disputed' then 'needs_response' when 'dispute_won' then 'won' else 'lost' end)
  end;
  return jsonb_build_object('id', format('evt_%s_%s', h.booking, p_name), 'object', 'event', 'type', v_type,
    'created', 1800000000, 'data', jsonb_build_object('object', v_object));
end
$$;

-- What Stripe answers the command that worker w holds.
create function tester.answer() returns jsonb language sql security definer as $$
  select case when h.refund is null then test.answer(h.command) else tester.event('refund_made') #> '{data,object}' end
  from tester.here h
$$;

-- What it answers when the hold has expired, or not at all.
create function tester.expired() returns jsonb language sql security definer as $$
  select jsonb_build_object('type', 'invalid_request_error', 'code', 'charge_expired_for_capture', 'http_status', 400,
    'payment_intent', tester.event('canceled') #> '{data,object}')
$$;
create function tester.silence() returns jsonb language sql as $$ select jsonb_build_object('type', 'api_connection_error') $$;

-- Ends a permutation: writes down what came of it, without ids and times; later cleanups leave the booking alone.
create function tester.close() returns void language plpgsql as $$
declare
  h tester.here;
begin
  select * into h from tester.here;
  insert into tester.results (booking, found, trail, edges)
  select h.booking,
    jsonb_build_object('bookings', (
      select jsonb_agg(jsonb_build_array(b.status, b.cancelled_by, b.cancellation_reason, b.refund_percent,
        b.confirmed_at is not null, b.student_id = h.student, b.payment_id = h.payment) order by b.created_at, b.id)
      from booking.bookings b where b.slot_id = h.slot),
    'payments', (
      select jsonb_agg(jsonb_build_array(p.status, p.amount_captured, p.amount_refunded, p.stripe_cancelled_at is not null,
        p.id = h.payment) order by p.created_at, p.id)
      from booking.payments p join booking.bookings b on b.id = p.booking_id where b.slot_id = h.slot),
    'seats', test.seats_taken(h.slot),
    'commands', (
      select coalesce(jsonb_agg(jsonb_build_array(c.operation, c.status, c.outcome, c.params -> 'amount', c.stripe_id = h.intent)
        order by c.created_at, c.ctid), '[]')
      from booking.stripe_commands c where c.payment_id = h.payment),
    'ledger', (
      select coalesce(jsonb_agg(jsonb_build_array(t.kind, t.amount) order by t.id), '[]')
      from booking.transfers t where t.payment_id = h.payment),
    'requests', (
      select coalesce(jsonb_agg(jsonb_build_array(q.status, q.amount) order by q.created_at, q.id), '[]')
      from booking.refund_requests q where q.payment_id = h.payment),
    'disputes', (select coalesce(jsonb_agg(d.status order by d.status), '[]') from booking.disputes d where d.payment_id = h.payment),
    'refunds', (
      select coalesce(jsonb_agg(jsonb_build_array(f.status, f.amount) order by f.amount), '[]')
      from booking.refunds f where f.payment_id = h.payment),
    'alerts', (
      select coalesce(jsonb_agg(a.kind order by a.kind), '[]')
      from booking.alerts a where a.id > h.alerts_before and a.resolved_at is null)),
    (select coalesce(array_agg(e.from_status || '>' || e.to_status order by e.id), '{}')
     from booking.booking_events e where e.booking_id = h.booking),
    (select coalesce(array_agg(e.was || '>' || e.became order by e.number), '{}') from tester.edges e where e.payment = h.payment);
  update booking.bookings b set created_at = now() where b.slot_id = h.slot and b.status = 'pending';
  delete from tester.edges;
end
$$;
