-- booking.confirm_booking_transaction(): the expert confirms or declines, Stripe is told through the outbox.
select * from no_plan();
select test.set_clock('2026-03-10 12:00Z');

-- confirm
create temp table b as select test.book() as id;
do $$ begin perform test.authorize(id) from b; end $$;
select test.set_clock('2026-03-10 12:10Z');
create temp table c as select x.* from b, booking.confirm_booking_transaction(test.expert(id), id) x;
select results_eq('select booking_id, status::text, payment_status::text from c', $$ select id, 'confirmed', 'authorized' from b $$,
  'confirmed at once; the payment is what Stripe last said');
select results_eq('select id, operation, stripe_id, params, status::text, attempts, run_at from booking.stripe_commands',
  $$ select command_id, 'capture_payment_intent', test.intent_id(booking_id), '{}'::jsonb, 'pending', 0, '2026-03-10 12:10Z'::timestamptz from c $$,
  'the capture waits in the outbox, and is the command that is returned');
select results_eq('select booking_id, from_status::text, to_status::text, actor, reason, created_at from booking.booking_events',
  $$ select id, 'pending', 'confirmed', test.expert(id), 'confirmed_by_expert', '2026-03-10 12:10Z'::timestamptz from b $$, 'the audit trail says who and when');
select is((test.booking(id)).confirmed_at, '2026-03-10 12:10Z'::timestamptz, 'the booking says when') from b;
select results_eq($$ select at, quantity, amount from booking.stat_deltas where metric = 'confirmed' $$,
  $$ values ('2026-03-10 12:00Z'::timestamptz, 1::bigint, 600000000::bigint) $$, 'the statistics count it with the ten minutes it took');
select is(test.seats_taken((test.booking(id)).slot_id), 1, 'its seat stays taken') from b;
select test.refused(format('select * from booking.confirm_booking_transaction(%L, %L, %L)', test.expert(id), id, action), 'PT409', 'already_processed',
  jsonb_build_object('booking_id', id, 'status', 'confirmed'), format('%s after it was confirmed', action)) from b, unnest(array['confirm', 'decline']) action;
do $$ begin perform test.run_commands(id) from b; end $$;
select is(test.state(id), 'confirmed/captured', 'and then Stripe captures') from b;

-- confirm what was captured unasked
create temp table u as select test.book() as id;
do $$ begin perform test.prepare(id), test.event('payment_intent.succeeded', test.intent(id, 'succeeded')) from u; end $$;
select is(test.state(id), 'pending/captured', 'a capture that nobody asked for is kept') from u;
select results_eq(format('select status::text, payment_status::text, command_id from booking.confirm_booking_transaction(%L, %L)', test.expert(id), id),
  $$ values ('confirmed', 'captured', null::uuid) $$, 'confirming it has nothing to tell Stripe') from u;

-- not payable any more, or not yet
create temp table w (what text, id uuid, payment_status text);
insert into w select what, test.book(), payment_status from (values ('nothing prepared', 'pending'), ('prepared', 'pending'), ('declined card', 'failed'),
  ('3-D Secure', 'requires_action'), ('processing', 'processing')) v (what, payment_status);
do $$ begin
  perform test.prepare(id) from w where what <> 'nothing prepared';
  perform test.event('payment_intent.payment_failed', test.intent(id, 'requires_payment_method')) from w where payment_status = 'failed';
  perform test.event('payment_intent.' || payment_status, test.intent(id, payment_status)) from w where payment_status in ('requires_action', 'processing');
end $$;
select test.refused(format('select * from booking.confirm_booking_transaction(%L, %L)', test.expert(id), id), 'PT409', 'payment_not_authorized',
  jsonb_build_object('booking_id', id, 'payment_status', payment_status), 'confirm with ' || what) from w;

-- the hold's end
create temp table h as select test.book() as id, test.book() as other;
do $$ begin
  perform test.authorize(id), test.authorize(other) from h;
  perform test.event('charge.succeeded', test.charge(id, p_capture_before => '2026-03-17 12:00Z')) from h;
  perform test.event('charge.succeeded', test.charge(other, p_capture_before => '2026-03-17 12:00Z')) from h;
end $$;
select test.set_clock('2026-03-17 12:00Z');
select test.refused(format('select * from booking.confirm_booking_transaction(%L, %L)', test.expert(id), id), 'PT409', 'authorization_expired',
  jsonb_build_object('booking_id', id), 'the hold lapses at this very moment') from h;
select ok(booking.get_booking(test.expert(id), id)::text like '%pending%', 'and the booking stays pending') from h;
select lives_ok(format('select * from booking.confirm_booking_transaction(%L, %L, %L)', test.expert(id), id, 'decline'), 'it can still be declined') from h;
select test.set_clock('2026-03-17 11:59:59.999999Z');
select lives_ok(format('select * from booking.confirm_booking_transaction(%L, %L)', test.expert(other), other), 'a microsecond before, it holds') from h;

-- decline
select test.set_clock('2026-03-10 12:00Z');
create temp table d as select test.book() as id;
do $$ begin perform test.authorize(id) from d; end $$;
create temp table e as select x.* from d, booking.confirm_booking_transaction(test.expert(id), id, 'decline', 'No time, sorry') x;
select results_eq('select status::text, payment_status::text from e', $$ values ('declined', 'authorized') $$, 'declined at once');
select results_eq('select c.id, c.operation, c.params from booking.stripe_commands c join e on c.id = e.command_id',
  $$ select command_id, 'cancel_payment_intent', '{}'::jsonb from e $$, 'the release of the hold waits in the outbox');
select is(test.seats_taken((test.booking(id)).slot_id), 0, 'the seat is free at once') from d;
select results_eq('select (b).cancelled_by, (b).cancellation_reason, (b).refund_percent::int, (b).closed_at from (select test.booking(id) as b from d) x',
  $$ values (null::text, 'No time, sorry', 100, '2026-03-10 12:00Z'::timestamptz) $$, 'the booking keeps the expert''s words');
select results_eq($$ select from_status::text, to_status::text, actor, reason from booking.booking_events where booking_id = (select id from d) $$,
  $$ select 'pending', 'declined', test.expert(id), 'declined_by_expert' from d $$, 'the audit trail has a code instead');
do $$ begin perform test.run_commands(id) from d; end $$;
select is(test.state(id), 'declined/cancelled', 'and then Stripe releases the hold') from d;

create temp table n as select test.book() as nothing, test.book() as prepared, test.book() as captured;
do $$ begin
  perform booking.prepare_payment_intent(test.student(prepared), prepared) from n;
  perform test.prepare(captured), test.event('payment_intent.succeeded', test.intent(captured, 'succeeded')) from n;
end $$;
select results_eq(format('select status::text, payment_status::text, command_id from booking.confirm_booking_transaction(%L, %L, %L)', test.expert(id), id, 'decline'),
  $$ values ('declined', 'cancelled', null::uuid) $$, 'declined ' || what || ': nothing to tell Stripe')
from n, lateral (values (nothing, 'before any payment'), (prepared, 'before a PaymentIntent was made')) v (id, what);
create temp table g as select x.* from n, booking.confirm_booking_transaction(test.expert(captured), captured, 'decline') x;
select results_eq('select g.payment_status::text, c.operation, (c.params ->> ''amount'')::bigint from g join booking.stripe_commands c on c.id = g.command_id',
  $$ values ('captured', 'create_refund', 5000::bigint) $$, 'what was captured unasked is refunded whole');

-- refusals
create temp table r as select test.book() as id;
select test.refused(format('select * from booking.confirm_booking_transaction(%L, %L, %L)', test.expert(id), id, action), 'PT400', 'invalid_action',
  jsonb_build_object('action', action, 'field', 'action'), 'action ' || coalesce(action, 'null')) from r, unnest(array['', 'accept', 'CONFIRM', null]) action;
select test.refused(format('select * from booking.confirm_booking_transaction(%L, %L, %L, %L)', test.expert(id), id, action, repeat('x', 1001)), 'PT400', 'invalid_request',
  '{"field": "reason"}', 'a reason of 1,001 characters: ' || action) from r, unnest(array['confirm', 'decline']) action;
select test.refused(format('select * from booking.confirm_booking_transaction(%L, %L, %L)', who, id, action), 'PT403', 'not_your_booking',
  jsonb_build_object('booking_id', id), format('%s by %s', action, coalesce(who, 'nobody')))
from r, unnest(array['confirm', 'decline']) action, lateral unnest(array['expert-0', test.student(id), null, '']) who;
select test.refused(format('select * from booking.confirm_booking_transaction(%L, %L, %L)', 'expert', unknown, action), 'PT404', 'booking_not_found',
  jsonb_build_object('booking_id', unknown), format('%s of %s', action, coalesce(unknown, 'null')))
from unnest(array['confirm', 'decline']) action, unnest(array['00000000-0000-7000-8000-000000000000', null]) unknown;
select lives_ok(format('select * from booking.confirm_booking_transaction(%L, %L, %L, %L)', test.expert(id), id, 'decline', repeat('x', 1000)),
  'a reason of 1,000 characters fits') from r;
select test.refused(format('select * from booking.confirm_booking_transaction(%L, %L)', test.expert(id), id), 'PT409', 'already_processed',
  '{"status": "declined"}', 'confirm after it was declined') from r;
do $$ begin perform booking.cancel_booking_transaction(test.student(id), id) from w where what = 'prepared'; end $$;
select test.refused(format('select * from booking.confirm_booking_transaction(%L, %L)', test.expert(id), id), 'PT409', 'already_processed',
  '{"status": "cancelled"}', 'confirm after the student cancelled') from w where what = 'prepared';
select is_empty('select * from booking.check_invariants()', 'the books are in order');
select * from finish();
