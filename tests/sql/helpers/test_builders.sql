-- What SQL tests share: people, slots and bookings in a line each, Stripe's objects and events, and a clock that stands
-- still. Functions of the schema under test are called the way a server calls them; nothing is written behind their back.
create schema test;
create sequence test.numbers;

-- A word that no other call gave: test.unique('student') -> student-7
create function test.unique(p_prefix text) returns text language sql volatile
as $$ select p_prefix || '-' || nextval('test.numbers') $$;

-- Stops booking.clock() at a time; null lets it run again. Call it in a statement of its own.
create function test.set_clock(p_time timestamptz) returns void language plpgsql volatile
as $$
begin
  execute format('create or replace function booking.clock() returns timestamptz language sql volatile parallel safe as %L',
    case when p_time is null then 'select pg_catalog.clock_timestamp()' else format('select %L::timestamptz', p_time) end);
end
$$;

create function test.make_session(
  p_expert text default null, p_amount bigint default 5000, p_currency text default 'usd', p_title text default 'An hour'
) returns uuid language sql volatile
as $$ select booking.create_session(coalesce(p_expert, test.unique('expert')), p_title, p_amount, p_currency) $$;

-- A slot of one hour that starts p_start from now; of a new expert and a new session unless one is given.
create function test.make_slot(
  p_start interval default '7 days',
  p_capacity int default 1,
  p_confirmation text default 'expert',
  p_session uuid default null,
  p_amount bigint default 5000,
  p_currency text default 'usd'
) returns uuid language plpgsql volatile
as $$
declare
  v_session uuid := coalesce(p_session, test.make_session(p_amount => p_amount, p_currency => p_currency));
  v_start timestamptz := booking.clock() + p_start;
begin
  return booking.publish_slot((select s.expert_id from booking.sessions s where s.id = v_session), v_session,
    v_start, v_start + interval '1 hour', p_capacity, p_confirmation);
end
$$;

-- A pending booking; of a new slot and by a new student unless they are given.
create function test.book(p_slot uuid default null, p_student text default null) returns uuid language sql volatile
as $$
  select c.booking_id from booking.create_booking_transaction(
    p_student_id => coalesce(p_student, test.unique('student')), p_slot_id => coalesce(p_slot, test.make_slot())) c
$$;

create function test.booking(p_booking uuid) returns booking.bookings language sql volatile
as $$ select b from booking.bookings b where b.id = p_booking $$;

create function test.payment(p_booking uuid) returns booking.payments language sql volatile
as $$ select p from booking.payments p where p.booking_id = p_booking $$;

create function test.student(p_booking uuid) returns text language sql volatile
as $$ select b.student_id from booking.bookings b where b.id = p_booking $$;

create function test.expert(p_booking uuid) returns text language sql volatile
as $$ select b.expert_id from booking.bookings b where b.id = p_booking $$;

create function test.seats_taken(p_slot uuid) returns int language sql volatile
as $$ select sum(q.taken)::int from booking.slot_seats q where q.slot_id = p_slot $$;

-- Status of a booking and of its payment in one word: 'confirmed/authorized'; without a payment 'pending/-'.
create function test.state(p_booking uuid) returns text language sql volatile
as $$
  select b.status || '/' || coalesce(p.status::text, '-')
  from booking.bookings b left join booking.payments p on p.id = b.payment_id where b.id = p_booking
$$;

-- The commands of a booking's payment in order, as text: 'capture_payment_intent done/applied'.
create function test.commands(p_booking uuid) returns text[] language sql volatile
as $$
  select coalesce(array_agg(c.operation || ' ' || c.status || coalesce('/' || c.outcome, '') order by c.created_at, c.ctid), '{}')
  from booking.stripe_commands c join booking.bookings b on b.payment_id = c.payment_id where b.id = p_booking
$$;

create function test.open_command(p_booking uuid) returns uuid language sql volatile
as $$
  select c.id from booking.stripe_commands c join booking.payments p on p.id = c.payment_id
  where p.booking_id = p_booking and c.stripe_id = p.stripe_payment_intent_id and c.status in ('pending', 'running')
$$;

-- -- Stripe's objects -------------------------------------------------------------------------------------------------

-- A booking's PaymentIntent as Stripe shows it. Before it is recorded it has the id that test.prepare() will record.
create function test.intent_id(p_booking uuid) returns text language sql volatile
as $$
  select coalesce(p.stripe_payment_intent_id, 'pi_' || replace(b.payment_id::text, '-', ''))
  from booking.bookings b left join booking.payments p on p.id = b.payment_id where b.id = p_booking
$$;

create function test.intent(p_booking uuid, p_status text default 'requires_capture', p_received bigint default null)
returns jsonb language sql volatile
as $$
  select jsonb_build_object('id', test.intent_id(b.id), 'object', 'payment_intent', 'status', p_status,
    'amount', b.amount, 'currency', b.currency::text,
    'amount_capturable', case when p_status = 'requires_capture' then b.amount else 0 end,
    'amount_received', coalesce(p_received, case when p_status = 'succeeded' then b.amount else 0 end),
    'latest_charge', 'ch_' || replace(b.payment_id::text, '-', ''),
    'metadata', jsonb_build_object('booking_id', b.id, 'payment_id', b.payment_id))
  from booking.bookings b where b.id = p_booking
$$;

create function test.charge(
  p_booking uuid, p_captured boolean default false, p_refunded bigint default 0, p_amount_captured bigint default null,
  p_capture_before timestamptz default null
) returns jsonb language sql volatile
as $$
  select jsonb_build_object('id', 'ch_' || replace(b.payment_id::text, '-', ''), 'object', 'charge', 'status', 'succeeded',
    'payment_intent', test.intent_id(b.id), 'amount', b.amount, 'currency', b.currency::text, 'captured', p_captured,
    'amount_captured', coalesce(p_amount_captured, case when p_captured then b.amount else 0 end),
    'amount_refunded', p_refunded, 'refunded', p_refunded >= b.amount,
    'payment_method_details', jsonb_build_object('type', 'card', 'card', jsonb_strip_nulls(jsonb_build_object(
      'brand', 'visa', 'capture_before', extract(epoch from p_capture_before)::bigint))),
    'metadata', jsonb_build_object('booking_id', b.id, 'payment_id', b.payment_id))
  from booking.bookings b where b.id = p_booking
$$;

create function test.refund(
  p_booking uuid, p_amount bigint, p_id text default null, p_status text default 'succeeded', p_command uuid default null
) returns jsonb language sql volatile
as $$
  select jsonb_build_object('id', coalesce(p_id, test.unique('re')), 'object', 'refund', 'status', p_status,
    'amount', p_amount, 'currency', b.currency::text, 'payment_intent', test.intent_id(b.id),
    'charge', 'ch_' || replace(b.payment_id::text, '-', ''),
    'metadata', jsonb_strip_nulls(jsonb_build_object('payment_id', b.payment_id, 'command_id', p_command)))
  from booking.bookings b where b.id = p_booking
$$;

-- Delivers an event; returns what process_webhook_event says. Its time is the clock's unless one is given.
create function test.event(p_type text, p_object jsonb, p_id text default null, p_created timestamptz default null)
returns text language sql volatile
as $$
  select booking.process_webhook_event(jsonb_build_object('id', coalesce(p_id, test.unique('evt')), 'object', 'event',
    'type', p_type, 'created', floor(extract(epoch from coalesce(p_created, booking.clock())))::bigint,
    'data', jsonb_build_object('object', p_object)))
$$;

-- -- A payment's way --------------------------------------------------------------------------------------------------

-- Prepares the payment and records its PaymentIntent; returns the PaymentIntent's id.
create function test.prepare(p_booking uuid) returns text language plpgsql volatile
as $$
declare
  v_payment uuid;
begin
  select t.payment_id into v_payment from booking.prepare_payment_intent(test.student(p_booking), p_booking) t;
  perform booking.record_payment_intent(v_payment, test.intent_id(p_booking));
  return test.intent_id(p_booking);
end
$$;

-- The card is authorized: pending/authorized. Returns the PaymentIntent's id.
create function test.authorize(p_booking uuid) returns text language plpgsql volatile
as $$
begin
  perform test.prepare(p_booking);
  if test.event('payment_intent.amount_capturable_updated', test.intent(p_booking)) <> 'processed' then
    raise exception 'the authorization of % was not processed', p_booking;
  end if;
  return test.intent_id(p_booking);
end
$$;

-- The object that Stripe returns for a command that succeeds.
create function test.answer(p_command uuid) returns jsonb language plpgsql volatile
as $$
declare
  v_command booking.stripe_commands;
  v_booking uuid;
begin
  select c.* into strict v_command from booking.stripe_commands c where c.id = p_command;
  select p.booking_id into strict v_booking from booking.payments p where p.id = v_command.payment_id;
  return case v_command.operation
    when 'capture_payment_intent' then test.intent(v_booking, 'succeeded', (v_command.params ->> 'amount_to_capture')::bigint)
    when 'cancel_payment_intent' then test.intent(v_booking, 'canceled')
    when 'create_refund' then test.refund(v_booking, (v_command.params ->> 'amount')::bigint, p_command => p_command)
  end || case when v_command.operation = 'create_refund' then jsonb_build_object('payment_intent', v_command.stripe_id)
              else jsonb_build_object('id', v_command.stripe_id) end;
end
$$;

-- Claims a command and completes it with what Stripe would return; true when the claim held.
create function test.run_command(p_command uuid) returns boolean language plpgsql volatile
as $$
begin
  perform from booking.claim_stripe_command(p_command, 'test');
  if not found then
    raise exception 'command % cannot be claimed', p_command;
  end if;
  return booking.complete_stripe_command(p_command, 'test', test.answer(p_command));
end
$$;

-- Runs a booking's open commands one after the other until none is left; returns how many.
create function test.run_commands(p_booking uuid) returns int language plpgsql volatile
as $$
declare
  v_command uuid;
  v_count int := 0;
begin
  loop
    v_command := test.open_command(p_booking);
    exit when v_command is null;
    perform test.run_command(v_command);
    v_count := v_count + 1;
  end loop;
  return v_count;
end
$$;

-- The expert confirms an authorized booking: confirmed/authorized, its capture is waiting. Returns the command.
create function test.confirm(p_booking uuid) returns uuid language sql volatile
as $$ select c.command_id from booking.confirm_booking_transaction(test.expert(p_booking), p_booking) c $$;

-- From pending (unpaid or authorized) to confirmed/captured. Returns the PaymentIntent's id.
create function test.capture(p_booking uuid) returns text language plpgsql volatile
as $$
begin
  if test.state(p_booking) not like '%/authorized' then
    perform test.authorize(p_booking);
  end if;
  perform test.run_command(test.confirm(p_booking));
  return test.intent_id(p_booking);
end
$$;

-- A booking that is confirmed and captured, p_start ahead.
create function test.captured_booking(p_start interval default '7 days', p_amount bigint default 5000, p_currency text default 'usd')
returns uuid language plpgsql volatile
as $$
declare
  v_booking uuid := test.book(test.make_slot(p_start, p_amount => p_amount, p_currency => p_currency));
begin
  perform test.capture(v_booking);
  return v_booking;
end
$$;

-- -- Invoices ---------------------------------------------------------------------------------------------------------

-- Issues the invoice of a captured booking; returns its id.
create function test.issue(p_booking uuid) returns uuid language sql volatile
as $$ select i.invoice_id from booking.issue_invoice((test.payment(p_booking)).id) i $$;

create function test.invoice(p_booking uuid) returns booking.invoices language sql volatile
as $$ select i from booking.invoices i where i.payment_id = (test.payment(p_booking)).id and i.kind = 'invoice' $$;

-- A booking's invoice and credit notes in order, as text: 'INV issued v1 4202+798=5000', 'CN void v2 0+0=0'.
create function test.papers(p_booking uuid) returns text[] language sql volatile
as $$
  select coalesce(array_agg(format('%s %s v%s %s+%s=%s', i.series, i.status, i.version, v.net, v.tax, v.gross) order by i.kind, i.serial), '{}')
  from booking.invoices i join booking.invoice_versions v on v.invoice_id = i.id and v.version = i.version
  where i.payment_id = (test.payment(p_booking)).id
$$;

-- -- Classes ----------------------------------------------------------------------------------------------------------

-- A class: an instant slot with a session.
create function test.make_class(p_capacity int default 2, p_start interval default '7 days', p_amount bigint default 3000)
returns uuid language sql volatile
as $$ select test.make_slot(p_start, p_capacity, 'instant', p_amount => p_amount) $$;

-- A student's hold on a seat of a class, with its PaymentIntent recorded.
create function test.hold_seat(p_class uuid, p_student text default null) returns uuid language plpgsql volatile
as $$
declare
  v_row record;
begin
  select * into v_row from booking.prepare_class_payment(coalesce(p_student, test.unique('student')), p_class);
  perform booking.record_payment_intent(v_row.payment_id, test.intent_id(v_row.booking_id));
  return v_row.booking_id;
end
$$;

-- The paid PaymentIntent of a class as Stripe shows it, with some of its fields changed.
create function test.paid_intent(p_booking uuid, p_changes jsonb default '{}') returns jsonb language sql volatile
as $$
  select test.intent(p_booking, 'succeeded') || jsonb_build_object('metadata', jsonb_build_object('booking_id', b.id,
    'payment_id', b.payment_id, 'class_id', b.slot_id, 'user_id', b.student_id, 'idempotency_key', b.payment_id)) || p_changes
  from booking.bookings b where b.id = p_booking
$$;

-- The hold's time is up, and it is cleaned up.
create function test.lapse(p_booking uuid) returns void language plpgsql volatile
as $$
begin
  update booking.bookings b set created_at = b.created_at - interval '1 hour' where b.id = p_booking;
  perform booking.cleanup_expired_bookings(1000);
  if (test.booking(p_booking)).status <> 'cancelled' then
    raise exception 'the hold % did not lapse', p_booking;
  end if;
end
$$;

-- The student's live booking in a class.
create function test.seat_of(p_class uuid, p_student text) returns uuid language sql volatile
as $$
  select b.id from booking.bookings b
  where b.slot_id = p_class and b.student_id = p_student and b.status in ('pending', 'confirmed')
$$;

-- -- Assertions -------------------------------------------------------------------------------------------------------

-- That a statement is refused: SQLSTATE, message and the given fields of DETAIL, with a hint for the caller.
-- Whatever the statement wrote is rolled back.
create function test.refused(p_sql text, p_sqlstate text, p_message text, p_detail jsonb, p_description text)
returns text language plpgsql volatile
as $$
declare
  v_state text;
  v_message text;
  v_detail text;
  v_hint text;
begin
  begin
    execute p_sql;
    return fail(p_description) || e'\n' || diag('nothing was raised');
  exception when others then
    get stacked diagnostics v_state = returned_sqlstate, v_message = message_text, v_detail = pg_exception_detail,
      v_hint = pg_exception_hint;
  end;
  if v_state <> p_sqlstate or v_message <> p_message or v_hint = ''
    or p_sqlstate like 'PT%' and not v_detail::jsonb @> p_detail
  then
    return fail(p_description) || e'\n'
      || diag(format('raised %s %s, detail %s, hint %s', v_state, v_message, v_detail, v_hint));
  end if;
  return pass(p_description);
end
$$;

-- -- Reconciliation ---------------------------------------------------------------------------------------------------

-- A booking's PaymentIntent, charge and refunds as Stripe has them when it agrees with our books.
create function test.at_stripe(p_booking uuid) returns jsonb language sql volatile
as $$
  select jsonb_build_array(test.intent(b.id, case
      when p.amount_captured > 0 then 'succeeded' when p.status = 'authorized' then 'requires_capture'
      when p.status = 'cancelled' then 'canceled' when p.status in ('processing', 'requires_action') then p.status::text
      else 'requires_payment_method' end, p.amount_captured))
    || case when p.amount_captured > 0 or p.status = 'authorized' then jsonb_build_array(test.charge(b.id, p.amount_captured > 0,
         case when p.amount_captured > 0 then p.amount - p.amount_captured + p.amount_refunded else 0 end, p.amount_captured)) else '[]' end
    || coalesce((select jsonb_agg(test.refund(b.id, f.amount, f.stripe_refund_id, f.status::text, f.command_id))
                 from booking.refunds f where f.payment_id = p.id), '[]')
  from booking.bookings b join booking.payments p on p.id = b.payment_id where b.id = p_booking
$$;

-- An array of objects in which the one of that kind has these fields instead (kind payment_intent, charge or refund).
create function test.but(p_objects jsonb, p_kind text, p_fields jsonb) returns jsonb language sql volatile
as $$
  select coalesce(jsonb_agg(case when e ->> 'object' = p_kind then e || p_fields else e end order by n), '[]')
  from jsonb_array_elements(p_objects) with ordinality x (e, n)
$$;

-- The objects of that array that are not of this kind.
create function test.without(p_objects jsonb, p_kind text) returns jsonb language sql volatile
as $$ select coalesce(jsonb_agg(e), '[]') from jsonb_array_elements(p_objects) e where e ->> 'object' <> p_kind $$;

-- A whole run over these objects: its differences. The window is a day on both sides of the clock.
create function test.reconcile(p_objects jsonb) returns table (payment_id uuid, stripe_id text, kind text, ours text, theirs text)
language plpgsql volatile
as $$
declare
  v_run uuid := booking.begin_reconciliation(booking.clock() - interval '1 day', booking.clock() + interval '1 day');
begin
  perform booking.record_stripe_objects(v_run, p_objects);
  return query select * from booking.finish_reconciliation(v_run);
end
$$;

-- -- Checkout ----------------------------------------------------------------------------------------------------------

-- A product on sale; returns its id.
create function test.make_product(p_amount bigint default 1900, p_currency text default 'eur') returns text language sql volatile
as $$ select booking.create_product(test.unique('product'), 'A course', p_amount, p_currency) $$;

-- Begins a purchase; returns the order's id. What is not given is new.
create function test.begin_order(p_user text default null, p_product text default null, p_key text default null, p_request text default null)
returns uuid language sql volatile
as $$
  select c.order_id from booking.begin_checkout(coalesce(p_user, test.unique('user')), coalesce(p_product, test.make_product()),
    coalesce(p_key, test.unique('key')), coalesce(p_request, 'req')) c
$$;

create function test.order_row(p_order uuid) returns booking.orders language sql volatile
as $$ select o from booking.orders o where o.id = p_order $$;

-- The id that test.finish_order() records.
create function test.session_id(p_order uuid) returns text language sql volatile
as $$ select coalesce(o.stripe_session_id, 'cs_' || replace(o.id::text, '-', '')) from booking.orders o where o.id = p_order $$;

-- Records an order's session; returns the order's id.
create function test.finish_order(p_order uuid, p_request text default 'req') returns uuid language plpgsql volatile
as $$
begin
  perform booking.finish_checkout(p_order, p_request, test.session_id(p_order), 'https://checkout.test/' || test.session_id(p_order));
  return p_order;
end
$$;

-- An unpaid order with its session.
create function test.open_order(p_user text default null, p_product text default null, p_key text default null) returns uuid language sql volatile
as $$ select test.finish_order(test.begin_order(p_user, p_product, p_key)) $$;

-- An order's Checkout Session as Stripe shows it.
create function test.checkout_session(p_order uuid, p_status text default 'complete', p_payment_status text default null)
returns jsonb language sql volatile
as $$
  select jsonb_build_object('id', test.session_id(o.id), 'object', 'checkout.session', 'mode', 'payment', 'status', p_status,
    'payment_status', coalesce(p_payment_status, case p_status when 'complete' then 'paid' else 'unpaid' end),
    'amount_total', o.amount, 'currency', o.currency::text,
    'payment_intent', case p_status when 'complete' then 'pi_' || replace(o.id::text, '-', '') end,
    'expires_at', extract(epoch from o.created_at + interval '24 hours')::bigint,
    'metadata', jsonb_build_object('order_id', o.id))
  from booking.orders o where o.id = p_order
$$;

-- The commands of an order in order, as text.
create function test.order_commands(p_order uuid) returns text[] language sql volatile
as $$
  select coalesce(array_agg(c.operation || ' ' || c.status || coalesce('/' || c.outcome, '') order by c.created_at, c.ctid), '{}')
  from booking.stripe_commands c where c.order_id = p_order
$$;

-- The open alerts about a subject.
create function test.open_alerts(p_subject text) returns text[] language sql volatile
as $$ select coalesce(array_agg(a.kind order by a.kind), '{}') from booking.alerts a where a.subject = p_subject and a.resolved_at is null $$;

-- -- Refund requests --------------------------------------------------------------------------------------------------

-- A student asks; null: all that may be asked for.
create function test.ask(p_booking uuid, p_amount bigint default null, p_reason text default null) returns uuid language sql volatile
as $$ select booking.request_refund(test.student(p_booking), p_booking, p_amount, p_reason) $$;

-- An administrator decides; returns the command to run.
create function test.approve(p_request uuid, p_decision text default 'approve') returns uuid language sql volatile
as $$ select d.command_id from booking.decide_refund_request('admin', p_request, p_decision) d $$;

create function test.request(p_request uuid) returns booking.refund_requests language sql volatile
as $$ select q from booking.refund_requests q where q.id = p_request $$;

-- The requests of a booking's payment, oldest first, small before large: '{"approved 2000","pending 500"}'.
create function test.requests(p_booking uuid) returns text[] language sql volatile
as $$
  select coalesce(array_agg(q.status || ' ' || q.amount order by q.created_at, q.amount), '{}')
  from booking.refund_requests q join booking.bookings b on b.payment_id = q.payment_id where b.id = p_booking
$$;

-- A dispute of the booking's payment.
create function test.dispute(p_booking uuid, p_status text default 'needs_response', p_id text default null) returns text language sql volatile
as $$
  select test.event('charge.dispute.' || case when p_status in ('won', 'lost', 'warning_closed', 'prevented') then 'closed' else 'created' end,
    jsonb_build_object('id', coalesce(p_id, 'dp_' || replace(p_booking::text, '-', '')), 'object', 'dispute', 'amount', b.amount,
      'currency', b.currency::text, 'status', p_status, 'reason', 'fraudulent', 'payment_intent', test.intent_id(p_booking)))
  from booking.bookings b where b.id = p_booking
$$;

-- The refund that a command made turns out to have failed.
create function test.fail_refund(p_command uuid) returns text language sql volatile
as $$
  select test.event('refund.failed', test.refund(p.booking_id, f.amount, f.stripe_refund_id, 'failed', p_command))
  from booking.refunds f join booking.payments p on p.id = f.payment_id where f.command_id = p_command
$$;

-- A payment of that status, of a booking of its own; written past every function.
create function test.a_payment(p_status text, p_intent_id text default null) returns uuid language sql as $$
  with b as (
    insert into booking.bookings (id, slot_id, session_id, student_id, expert_id, payment_id, seat_part, confirmation, currency,
      amount, scheduled_at, ends_at)
    values (gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), 'student', 'expert', gen_random_uuid(), 0, 'expert', 'usd', 1000,
      now(), now())
    returning id, payment_id, amount, currency)
  insert into booking.payments (id, booking_id, stripe_payment_intent_id, amount, currency, status, amount_captured, amount_refunded)
  select payment_id, id, p_intent_id, amount, currency, p_status::booking.payment_status,
    case when p_status in ('captured', 'partially_refunded', 'refunded') then 1000 else 0 end,
    case p_status when 'partially_refunded' then 400 when 'refunded' then 1000 else 0 end
  from b returning id
$$;

-- What the owner of the tables is told who runs a statement: done (and undone again), or the SQLSTATE and table of a check.
create function test.written(p_statement text) returns text language plpgsql as $$
declare
  v_table text;
begin
  execute 'set local role booking_owner';
  begin
    execute p_statement;
    raise exception using errcode = 'ZZ000';
  exception
    when sqlstate 'ZZ000' then
      execute 'reset role';
      return 'done';
    when check_violation then
      get stacked diagnostics v_table = table_name;
      execute 'reset role';
      return sqlstate || ' ' || v_table;
  end;
end
$$;
