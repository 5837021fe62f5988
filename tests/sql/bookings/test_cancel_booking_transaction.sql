-- booking.cancel_booking_transaction(): either side ends a live booking; refund by policy, release or nothing.
select * from no_plan();
select test.set_clock('2026-03-10 12:00Z');
create function pg_temp.cancelled(p_booking uuid, p_actor text) returns text language plpgsql as $$
declare
  v_answer record;
  v_command text;
begin
  select * into v_answer
  from booking.cancel_booking_transaction(case p_actor when 'student' then test.student(p_booking) else test.expert(p_booking) end, p_booking);
  select c.operation || coalesce(' ' || (c.params ->> 'amount'), '') into v_command from booking.stripe_commands c where c.id = v_answer.command_id;
  return format('%s by %s: %s %% %s, %s, %s', v_answer.status, v_answer.cancelled_by, v_answer.refund_percent, v_answer.refund_amount,
    v_answer.payment_status, coalesce(v_command, 'no command'));
end
$$;

-- a captured booking, by the time that is left
create temp table policy (start timestamptz, at timestamptz, actor text, expected text);
insert into policy values
  ('2026-03-20 12:00Z', '2026-03-19 12:00:00Z', 'student', 'cancelled by student: 100 % 5001, captured, create_refund 5001'),
  ('2026-03-20 12:00Z', '2026-03-19 12:00:00.000001Z', 'student', 'cancelled by student: 50 % 2501, captured, create_refund 2501'),
  ('2026-03-20 12:00Z', '2026-03-20 10:00:00Z', 'student', 'cancelled by student: 50 % 2501, captured, create_refund 2501'),
  ('2026-03-20 12:00Z', '2026-03-20 10:00:00.000001Z', 'student', 'cancelled by student: 0 % 0, captured, no command'),
  ('2026-03-20 12:00Z', '2026-03-20 11:59:59Z', 'student', 'cancelled by student: 0 % 0, captured, no command'),
  ('2026-03-20 12:00Z', '2026-03-20 12:30:00Z', 'student', 'cancelled by student: 0 % 0, captured, no command'),
  ('2026-03-20 12:00Z', '2026-03-19 12:00:00Z', 'expert', 'cancelled by expert: 100 % 5001, captured, create_refund 5001'),
  ('2026-03-20 12:00Z', '2026-03-20 11:00:00Z', 'expert', 'cancelled by expert: 100 % 5001, captured, create_refund 5001'),
  ('2026-03-20 12:00Z', '2026-03-20 12:30:00Z', 'expert', 'cancelled by expert: 100 % 5001, captured, create_refund 5001');
create function pg_temp.by_policy(p_start timestamptz, p_at timestamptz, p_actor text) returns text language plpgsql as $$
declare
  v_booking uuid;
begin
  perform test.set_clock('2026-03-10 12:00Z');
  v_booking := test.captured_booking(p_start - booking.clock(), 5001);
  perform test.set_clock(p_at);
  return pg_temp.cancelled(v_booking, p_actor);
end
$$;
select is(pg_temp.by_policy(start, at, actor), expected, format('the %s cancels %s ahead', actor, start - at)) from policy;
select is(test.seats_taken(b.slot_id), 0, 'the seat is free') from booking.bookings b;
do $$ begin perform test.run_commands(b.id) from booking.bookings b; end $$;
select set_eq($$ select amount_refunded from booking.payments $$, array[5001, 2501, 0], 'and Stripe refunds just that');

-- other currencies
select test.set_clock('2026-03-10 12:00Z');
create temp table money as select currency, amount, expected, test.captured_booking('10 hours', amount, currency) as id
from (values ('jpy', 1001, 501), ('kwd', 1010, 510), ('isk', 300, 200), ('eur', 1, 1)) v (currency, amount, expected);
select is(pg_temp.cancelled(id, 'student'), format('cancelled by student: 50 %% %s, captured, create_refund %1$s', expected),
  format('half of %s %s', amount, currency)) from money;
create temp table everything as select test.captured_booking('10 hours', 10, 'kwd') as id;
select is(pg_temp.cancelled(id, 'student'), 'cancelled by student: 50 % 10, captured, create_refund 10', 'half of the smallest dinar amount is that amount') from everything;

-- policies are rows
update booking.refund_policies set percent = 25 where min_notice = '2 hours';
insert into booking.refund_policies values ('0', 10);
select is(pg_temp.cancelled(test.captured_booking('10 hours', 1000), 'student'), 'cancelled by student: 25 % 250, captured, create_refund 250', 'another percentage');
select is(pg_temp.cancelled(test.captured_booking('1 hour', 1000), 'student'), 'cancelled by student: 10 % 100, captured, create_refund 100', 'another step');
delete from booking.refund_policies;
select is(pg_temp.cancelled(test.captured_booking('10 days', 1000), 'student'), 'cancelled by student: 0 % 0, captured, no command', 'without a policy nothing');
select is(pg_temp.cancelled(test.captured_booking('10 days', 1000), 'expert'), 'cancelled by expert: 100 % 1000, captured, create_refund 1000', 'but the expert gives everything');
insert into booking.refund_policies values ('24 hours', 100), ('2 hours', 50);

-- before capture
create temp table early (what text, id uuid, state text, expected text);
insert into early select what, test.book(test.make_slot('1 hour')), state, expected from (values
  ('before any payment', '', 'cancelled by student: 100 % 0, cancelled, no command'),
  ('before a PaymentIntent was made', 'prepared', 'cancelled by student: 100 % 0, cancelled, no command'),
  ('before it was paid', 'recorded', 'cancelled by student: 100 % 0, pending, cancel_payment_intent'),
  ('after a declined card', 'failed', 'cancelled by student: 100 % 0, failed, cancel_payment_intent'),
  ('while only held', 'authorized', 'cancelled by student: 100 % 0, authorized, cancel_payment_intent')) v (what, state, expected);
do $$ begin
  perform booking.prepare_payment_intent(test.student(id), id) from early where state <> '';
  perform test.prepare(id) from early where state not in ('', 'prepared');
  perform test.event('payment_intent.payment_failed', test.intent(id, 'requires_payment_method')) from early where state = 'failed';
  perform test.event('payment_intent.amount_capturable_updated', test.intent(id)) from early where state = 'authorized';
end $$;
select is(pg_temp.cancelled(id, 'student'), expected, 'an hour ahead, ' || what || ': the hold is released whole') from early;
do $$ begin perform test.run_commands(id) from early; end $$;
select is(test.state(id), case state when '' then 'cancelled/-' else 'cancelled/cancelled' end, 'in the end ' || what) from early;

-- confirmed, the capture on the way
create temp table way as select what, test.book(test.make_slot(start)) as id, who, sent, expected, finally
from (values
  ('30 hours ahead, not sent', '30 hours'::interval, 'student', false, 'cancelled by student: 100 % 5000, authorized, cancel_payment_intent', 'cancelled/cancelled 0 0'),
  ('30 hours ahead, sent', '30 hours', 'student', true, 'cancelled by student: 100 % 5000, authorized, capture_payment_intent', 'cancelled/refunded 5000 5000'),
  ('10 hours ahead, not sent', '10 hours', 'student', false, 'cancelled by student: 50 % 2500, authorized, capture_payment_intent', 'cancelled/partially_refunded 5000 2500'),
  ('10 hours ahead, sent', '10 hours', 'student', true, 'cancelled by student: 50 % 2500, authorized, capture_payment_intent', 'cancelled/partially_refunded 5000 2500'),
  ('1 hour ahead, not sent', '1 hour', 'student', false, 'cancelled by student: 0 % 0, authorized, capture_payment_intent', 'cancelled/captured 5000 0'),
  ('the expert, 1 hour ahead, not sent', '1 hour', 'expert', false, 'cancelled by expert: 100 % 5000, authorized, cancel_payment_intent', 'cancelled/cancelled 0 0'),
  ('the expert, 1 hour ahead, sent', '1 hour', 'expert', true, 'cancelled by expert: 100 % 5000, authorized, capture_payment_intent', 'cancelled/refunded 5000 5000'))
  v (what, start, who, sent, expected, finally);
do $$ begin
  perform test.authorize(id), test.confirm(id) from way;
  perform booking.claim_stripe_command(test.open_command(id), 'lost') from way where sent;
end $$;
select is(pg_temp.cancelled(id, who), expected, 'capture on the way, ' || what) from way;
select test.set_clock('2026-03-10 12:02Z');
do $$ begin perform test.run_commands(id) from way; end $$;
select is(format('%s %s %s', test.state(id), (test.payment(id)).amount_captured, (test.payment(id)).amount_refunded), finally, 'and in the end, ' || what) from way;
select test.set_clock('2026-03-10 12:00Z');

-- captured unasked, not confirmed: what was captured follows the policy
create temp table unasked as select start, expected, test.book(test.make_slot(start)) as id
from (values ('30 hours'::interval, 'cancelled by student: 100 % 5000, captured, create_refund 5000'),
  ('10 hours', 'cancelled by student: 50 % 2500, captured, create_refund 2500'), ('1 hour', 'cancelled by student: 0 % 0, captured, no command')) v (start, expected);
do $$ begin perform test.prepare(id), test.event('payment_intent.succeeded', test.intent(id, 'succeeded')) from unasked; end $$;
select is(pg_temp.cancelled(id, 'student'), expected, 'captured without being asked, ' || start || ' ahead') from unasked;

-- what was given back before counts
create temp table given as select what, refunds, expected, test.captured_booking(start) as id
from (values
  ('less than the percentage', '10 hours'::interval, array['1000'], 'cancelled by student: 50 % 1500, partially_refunded, create_refund 1500'),
  ('just the percentage', '10 hours', array['2500'], 'cancelled by student: 50 % 0, partially_refunded, no command'),
  ('more than the percentage', '10 hours', array['2501'], 'cancelled by student: 50 % 0, partially_refunded, no command'),
  ('everything', '30 hours', array['5000'], 'cancelled by student: 100 % 0, refunded, no command'),
  ('in two parts', '30 hours', array['1000', '500'], 'cancelled by student: 100 % 3500, partially_refunded, create_refund 3500'),
  ('and on its way', '30 hours', array['1000 pending'], 'cancelled by student: 100 % 4000, partially_refunded, create_refund 4000'),
  ('but failed: a person pays that', '30 hours', array['1000 failed'], 'cancelled by student: 100 % 4000, captured, create_refund 4000')) v (what, start, refunds, expected);
do $$ begin
  perform test.event('refund.created', test.refund(id, split_part(r, ' ', 1)::bigint, p_status => coalesce(nullif(split_part(r, ' ', 2), ''), 'succeeded')))
  from given, unnest(refunds) r;
end $$;
select is(pg_temp.cancelled(id, 'student'), expected, 'refunded before: ' || what) from given;

-- what is written
create temp table b as select test.captured_booking('30 hours') as id;
create temp table c as select x.* from b, booking.cancel_booking_transaction(test.student(id), id, 'I am ill') x;
select results_eq('select (b).status::text, (b).cancelled_by, (b).cancellation_reason, (b).refund_percent::int, (b).closed_at from (select test.booking(id) as b from b) x',
  $$ values ('cancelled', 'student', 'I am ill', 100, '2026-03-10 12:00Z'::timestamptz) $$, 'the booking says who, why and how much');
select results_eq($$ select from_status::text, to_status::text, actor, reason, created_at from booking.booking_events where booking_id = (select id from b) order by id $$,
  $$ select f, t, a, r, '2026-03-10 12:00Z'::timestamptz from b, lateral (values ('pending', 'confirmed', test.expert(id), 'confirmed_by_expert'),
       ('confirmed', 'cancelled', test.student(id), 'cancelled_by_student')) v (f, t, a, r) $$, 'the audit trail says who, with a code instead of words');
select results_eq('select s.params from booking.stripe_commands s join c on c.command_id = s.id',
  $$ select jsonb_build_object('payment_intent', test.intent_id(booking_id), 'amount', 5000,
       'metadata', jsonb_build_object('payment_id', (test.booking(booking_id)).payment_id, 'command_id', command_id)) from c $$,
  'the refund names its amount and carries our ids');
select is(x.cancelled_by, 'student', 'a person who is both sides is the student')
from booking.cancel_booking_transaction('expert-own', test.book(test.make_slot(p_session => test.make_session('expert-own')), 'expert-own')) x;

-- refusals
create temp table r as select test.book() as id, test.book() as declined, test.captured_booking('1 hour') as completed;
do $$ begin perform booking.confirm_booking_transaction(test.expert(declined), declined, 'decline') from r; end $$;
select test.set_clock('2026-03-10 14:00Z');
do $$ begin perform booking.complete_past_bookings(); end $$;
select test.refused(format('select * from booking.cancel_booking_transaction(%L, %L)', actor, id), 'PT409', 'already_processed',
  jsonb_build_object('booking_id', id, 'status', status), format('%s after it was %s', actor, status))
from (select b.id, 'cancelled' as status from b union all select declined, 'declined' from r union all select completed, 'completed' from r) x,
  lateral unnest(array[test.student(x.id), test.expert(x.id)]) actor;
select test.refused(format('select * from booking.cancel_booking_transaction(%L, %L)', who, id), 'PT403', 'not_your_booking', jsonb_build_object('booking_id', id),
  'by ' || coalesce(who, 'nobody')) from r, unnest(array['somebody', '', null]) who;
select test.refused(format('select * from booking.cancel_booking_transaction(%L, %L)', 'somebody', unknown), 'PT404', 'booking_not_found',
  jsonb_build_object('booking_id', unknown), 'booking ' || coalesce(unknown, 'null')) from unnest(array['00000000-0000-7000-8000-000000000000', null]) unknown;
select test.refused(format('select * from booking.cancel_booking_transaction(%L, %L, %L)', test.student(id), id, repeat('x', 1001)), 'PT400', 'invalid_request',
  '{"field": "reason"}', 'a reason of 1,001 characters') from r;
select lives_ok(format('select * from booking.cancel_booking_transaction(%L, %L, %L)', test.student(id), id, repeat('x', 1000)), 'a reason of 1,000 characters fits') from r;
select is_empty('select * from booking.check_invariants()', 'the books are in order');
select * from finish();
