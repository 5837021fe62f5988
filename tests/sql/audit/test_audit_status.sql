-- booking.audit_status(): every step of a payment, a refund and a dispute is in the audit log, whoever made it.
select * from no_plan();
select test.set_clock('2026-03-10 12:00Z');
create temp table b as select test.book(test.make_slot('30 hours')) as id;
do $$ begin
  perform booking.on_request('req-1', null);
  perform test.prepare(id) from b;
  perform test.event('payment_intent.amount_capturable_updated', test.intent(id), 'evt_1') from b;
  perform booking.confirm_booking_transaction(booking.on_request('req-2', test.expert(id)), id) from b;
  perform test.run_command(test.open_command(id)) from b;
  perform booking.cancel_booking_transaction(booking.on_request('req-3', test.student(id)), id) from b;
  perform test.run_command(test.open_command(id)) from b;
end $$;
create function test.payment_id(p_booking uuid) returns uuid language sql as $$ select b.payment_id from booking.bookings b where b.id = p_booking $$;
create function pg_temp.rows() returns table (action text, actor text, request_id text) language sql as $$
  select a.action, a.actor, a.request_id from booking.audit_log a, b
  where a.subject = test.payment_id(b.id)::text or a.payment_id = test.payment_id(b.id) order by a.id
$$;
select results_eq('select * from pg_temp.rows()', $$
  select v.* from b, lateral (values
    ('payment.pending', test.student(id), 'req-1'), ('payment.pending', test.student(id), 'req-1'),
    ('payment.authorized', 'stripe', 'evt_1'), ('payment.captured', 'stripe', 'req-2'),
    ('refund.succeeded', 'stripe', 'req-3'), ('payment.refunded', 'stripe', 'req-3')) v $$,
  'who, what and under which request: also what Stripe did then, where we had asked for it');
select results_eq($$ select detail - 'booking_id' from booking.audit_log a, b where a.subject = test.payment_id(b.id)::text order by a.id $$, $$
  select v.d from b, lateral (values ('{"amount": 5000, "currency": "usd"}'::jsonb),
    (jsonb_build_object('from', 'pending', 'currency', 'usd', 'amount_captured', 0, 'amount_refunded', 0, 'stripe_payment_intent_id', test.intent_id(id))),
    (jsonb_build_object('from', 'pending', 'currency', 'usd', 'amount_captured', 0, 'amount_refunded', 0, 'stripe_payment_intent_id', test.intent_id(id))),
    (jsonb_build_object('from', 'authorized', 'currency', 'usd', 'amount_captured', 5000, 'amount_refunded', 0, 'stripe_payment_intent_id', test.intent_id(id))),
    (jsonb_build_object('from', 'captured', 'currency', 'usd', 'amount_captured', 5000, 'amount_refunded', 5000, 'stripe_payment_intent_id', test.intent_id(id)))) v (d) $$,
  'with the amounts that were reached, and the status before');
select lives_ok($$ update booking.payments set capture_before = '2026-03-20' where booking_id = (select id from b) $$, 'a change that moves nothing');
select is((select count(*) from pg_temp.rows()), 6::bigint, 'leaves no row');
do $$ begin perform test.event('charge.dispute.created', jsonb_build_object('id', 'dp_1', 'object', 'dispute', 'amount', 5000, 'currency', 'usd',
  'payment_intent', test.intent_id(id), 'status', 'needs_response', 'reason', 'fraudulent'), 'evt_2') from b; end $$;
do $$ begin perform test.event('refund.failed', test.refund(id, 5000, stripe_refund_id, 'failed'), 'evt_3') from b, booking.refunds; end $$;
select results_eq('select * from pg_temp.rows() offset 6', $$ values ('dispute.needs_response', 'stripe', 'evt_2'), ('refund.failed', 'stripe', 'evt_3'),
  ('payment.captured', 'stripe', 'evt_3') $$, 'a dispute, and a refund that failed');
select is_empty('select * from booking.check_invariants()', 'the books are in order');

create temp table d as select test.book() as id;
do $$ begin
  perform booking.prepare_payment_intent(test.student(id), id) from d;
  perform set_config('booking.request_id', '', true);
  perform booking.cancel_booking_transaction(test.expert(id), id) from d;
end $$;
select results_eq($$ select a.action, a.actor, a.request_id from booking.audit_log a, d where a.subject = test.payment_id(d.id)::text order by a.id $$, $$
  select v.* from d, lateral (values ('payment.pending', test.student(id), 'evt_3'), ('payment.cancelled', test.expert(id), null)) v $$,
  'a function that is given a person names him by itself; without a request id there is none');
create temp table e as select test.book() as id;
do $$ begin perform booking.prepare_payment_intent(test.student(id), id) from e; end $$;
do $$ begin perform booking.cleanup_expired_bookings(p_timeout => '0'); end $$;
select is((select a.actor from booking.audit_log a, e where a.subject = test.payment_id(e.id)::text and a.action = 'payment.cancelled'), 'system',
  'what expires was ended by the system');
select * from finish();
