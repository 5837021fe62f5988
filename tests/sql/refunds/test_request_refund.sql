-- booking.request_refund(): a student asks for money back of his own captured booking, no more than is left.
select * from no_plan();
select test.set_clock('2026-03-10 12:00Z');
create temp table t (n text, b uuid);
insert into t values ('paid', test.captured_booking()), ('other', test.captured_booking()), ('kwd', test.captured_booking(p_amount => 5000, p_currency => 'kwd')),
  ('unpaid', test.book()), ('held', test.book()), ('disputed', test.captured_booking()), ('cancelled', test.captured_booking('10 hours')), ('completed', test.captured_booking('1 hour')),
  ('instant', test.book(test.make_slot(p_confirmation => 'instant')));
create function pg_temp.b(p_n text) returns uuid language sql as $$ select b from t where n = p_n $$;
do $$ begin
  perform test.authorize(pg_temp.b('held'));
  perform test.dispute(pg_temp.b('disputed'));
  perform booking.cancel_booking_transaction(test.student(pg_temp.b('cancelled')), pg_temp.b('cancelled'));
  perform test.prepare(pg_temp.b('instant')), test.event('payment_intent.succeeded', test.intent(pg_temp.b('instant'), 'succeeded'));
end $$;
create function pg_temp.asks(p_n text, p_amount text) returns text language sql as $$
  select format('select booking.request_refund(%L, %L, %s)', test.student(pg_temp.b(p_n)), pg_temp.b(p_n), p_amount) $$;

-- -- refused
select test.refused(format('select booking.request_refund(%L, %L)', test.student(pg_temp.b('paid')), '01890000-0000-7000-8000-000000000001'),
  'PT404', 'booking_not_found', '{"booking_id": "01890000-0000-7000-8000-000000000001"}', 'no such booking');
select test.refused(format('select booking.request_refund(%L, %L)', who, pg_temp.b('paid')), 'PT403', 'not_your_booking',
  jsonb_build_object('booking_id', pg_temp.b('paid')), 'only its student: ' || coalesce(who, 'nobody'))
from unnest(array[test.student(pg_temp.b('other')), test.expert(pg_temp.b('paid')), null]) who;
select test.refused(pg_temp.asks(n, 'null'), 'PT409', 'payment_not_captured', jsonb_build_object('booking_id', pg_temp.b(n), 'payment_status', s), n || ': nothing was captured')
from (values ('unpaid', 'pending'), ('held', 'authorized')) v (n, s);
select test.refused(pg_temp.asks('disputed', a), 'PT409', 'payment_disputed', jsonb_build_object('booking_id', pg_temp.b('disputed')), 'a dispute is open')
from unnest(array['null', '1']) a;
select test.refused(pg_temp.asks(n, a), 'PT400', 'invalid_refund_amount', jsonb_build_object('field', 'amount', 'amount', a::bigint, 'step', step, 'currency', n2),
  a || ' is no amount') from (values ('paid', '0', 1, 'usd'), ('paid', '-5', 1, 'usd'), ('kwd', '15', 10, 'kwd')) v (n, a, step, n2);
select test.refused(pg_temp.asks('paid', '5001'), 'PT409', 'refund_exceeds_captured',
  jsonb_build_object('booking_id', pg_temp.b('paid'), 'amount', 5001, 'refundable', 5000, 'currency', 'usd'), 'more than was captured');
select test.refused(format('select booking.request_refund(%L, %L, 1, %L)', test.student(pg_temp.b('paid')), pg_temp.b('paid'), repeat('x', 1001)),
  'PT400', 'invalid_request', '{"field": "reason"}', 'a reason that is too long');
select is((select count(*) from booking.refund_requests), 0::bigint, 'refusals write nothing');
select is((select count(*) from booking.audit_log where action like 'refund_request.%'), 0::bigint, 'nor do they appear in the audit trail');

-- -- granted
grant select on t to booking_app;
grant usage on schema test to booking_app;
create temp table q (n text, id uuid);
grant insert on q to booking_app;
create temp table who as select n, b, test.student(b) as student from t;
grant select on who to booking_app;
set local role booking_app;
insert into q select n, booking.request_refund(p_student_id => student, p_booking_id => b, p_amount => 1200, p_reason => 'It rained') from who where n = 'paid';
reset role;
select results_eq($$ select r.booking_id, r.payment_id, r.student_id, r.amount, r.currency::text, r.reason, r.status::text, r.decided_by, r.decided_at, r.note, r.command_id,
    r.beyond_policy, r.created_at, r.updated_at from booking.refund_requests r $$,
  $$ select b, (test.payment(b)).id, test.student(b), 1200::bigint, 'usd', 'It rained', 'pending', null::text, null::timestamptz, null::text, null::uuid, false,
       '2026-03-10 12:00Z'::timestamptz, '2026-03-10 12:00Z'::timestamptz from t where n = 'paid' $$, 'it is pending, with its reason');
select is(booking.shard_of(id), booking.shard_of(b), 'its id is in the booking''s shard') from q join t using (n);
select results_eq($$ select actor, subject, payment_id, detail - 'payment_id' from booking.audit_log where action = 'refund_request.created' $$,
  $$ select test.student(b), id::text, (test.payment(b)).id, jsonb_build_object('booking_id', b, 'amount', 1200, 'currency', 'usd') from q join t using (n) $$,
  'the audit trail has it, without the student''s words');
select is(test.commands(b), array['capture_payment_intent done/applied'], 'nothing goes to Stripe yet') from t where n = 'paid';
select is(test.state(b), 'confirmed/captured', 'nor does the booking change') from t where n = 'paid';
select test.refused(pg_temp.asks('paid', '3801'), 'PT409', 'refund_exceeds_captured', '{"refundable": 3800}', 'the next one may ask for what is left');
do $$ begin perform test.ask(pg_temp.b('paid')); end $$;
select is(test.requests(pg_temp.b('paid')), array['pending 1200', 'pending 3800'], 'no amount: all that is left');
select test.refused(pg_temp.asks('paid', 'null'), 'PT409', 'refund_exceeds_captured', '{"amount": null, "refundable": 0}', 'nothing is left');
do $$ begin perform test.ask(pg_temp.b('kwd'), 10); end $$;
select is(test.requests(pg_temp.b('kwd')), array['pending 10'], 'a multiple of the step');
do $$ begin perform test.event('charge.refunded', test.charge(pg_temp.b('kwd'), true, 5)); perform test.ask(pg_temp.b('kwd')); end $$;
select is(test.requests(pg_temp.b('kwd')), array['pending 10', 'pending 4980'], 'all that is left, in whole steps');
do $$ begin perform test.ask(pg_temp.b('cancelled')); end $$;
select is(test.requests(pg_temp.b('cancelled')), array['pending 2500'], 'a cancelled booking: what its policy does not give back');
do $$ begin perform test.ask(pg_temp.b('instant'), 1); end $$;
select is(test.requests(pg_temp.b('instant')), array['pending 1'], 'of an instant slot, too');
select test.set_clock('2026-03-10 15:00Z');
do $$ begin perform booking.complete_past_bookings(); perform test.ask(pg_temp.b('completed'), 100); end $$;
select is(test.state(pg_temp.b('completed')) || test.requests(pg_temp.b('completed'))::text, 'completed/captured{"pending 100"}', 'after the session, too');
select is_empty('select * from booking.check_invariants()', 'the books are in order');
select * from finish();
