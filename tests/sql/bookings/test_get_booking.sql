-- booking.get_booking(): one booking with its payment, for its two sides.
select * from no_plan();
select test.set_clock('2026-03-10 12:00Z');
create temp table b as select c.booking_id as id from booking.create_booking_transaction('student-1',
  test.make_slot('30 hours', p_session => test.make_session('expert-1')), p_details => '{"note": "hi"}') c;
select is(to_jsonb(g), to_jsonb(e), 'a new booking, as the student sees it') from b, booking.get_booking('student-1', id) g,
  lateral (select id as booking_id, 'pending'::booking.booking_status as status, (test.booking(id)).slot_id, (test.booking(id)).session_id, 'student-1' as student_id,
    'expert-1' as expert_id, '2026-03-11 18:00Z'::timestamptz as scheduled_at, '2026-03-11 19:00Z'::timestamptz as ends_at,
    '2026-03-10 12:30Z'::timestamptz as expires_at, 5000 as amount, 'usd' as currency, (test.booking(id)).payment_id, 'pending' as payment_status,
    0 as amount_captured, 0 as amount_refunded, null as cancelled_by, null as cancellation_reason, null as refund_percent,
    '{"note": "hi"}'::jsonb as details, '2026-03-10 12:00Z'::timestamptz as created_at, '2026-03-10 12:00Z'::timestamptz as updated_at) e;
select is(to_jsonb(e), to_jsonb(s), 'the expert sees the same') from b, booking.get_booking('expert-1', id) e, booking.get_booking('student-1', id) s;
do $$ begin perform test.capture(id) from b; end $$;
select test.set_clock('2026-03-10 13:00Z');
do $$ begin perform test.event('refund.created', test.refund(id, 700)) from b; end $$;
select results_eq(format('select status::text, payment_status::text, amount_captured, amount_refunded, expires_at from booking.get_booking(%L, %L)', 'student-1', id),
  $$ values ('confirmed', 'partially_refunded', 5000::bigint, 700::bigint, null::timestamptz) $$, 'confirmed and paid: it expires no more') from b;
do $$ begin perform booking.cancel_booking_transaction('student-1', id, 'ill') from b; end $$;
select results_eq(format('select status::text, cancelled_by, cancellation_reason, refund_percent, updated_at from booking.get_booking(%L, %L)', 'expert-1', id),
  $$ values ('cancelled', 'student', 'ill', 100, '2026-03-10 13:00Z'::timestamptz) $$, 'cancelled: who, why, how much') from b;
create temp table u as select test.book() as id;
do $$ begin perform booking.cancel_booking_transaction(test.student(id), id) from u; end $$;
select is(g.payment_status::text, 'cancelled', 'one that ended before any payment has a cancelled one') from u, booking.get_booking(test.student(id), id) g;
select test.refused(format('select * from booking.get_booking(%L, %L)', who, id), 'PT403', 'not_your_booking', jsonb_build_object('booking_id', id),
  'for ' || coalesce(who, 'nobody')) from b, unnest(array['somebody', '', null]) who;
select test.refused(format('select * from booking.get_booking(%L, %L)', 'student-1', unknown), 'PT404', 'booking_not_found',
  jsonb_build_object('booking_id', unknown), 'booking ' || coalesce(unknown, 'null')) from unnest(array['00000000-0000-7000-8000-000000000000', null]) unknown;
-- a lapsed hold whose payment has moved on to a new booking
create temp table l as select test.hold_seat(test.make_class(1), 'ann') as id;
do $$ begin perform test.lapse(id), test.event('payment_intent.succeeded', test.intent(id, 'succeeded')) from l; end $$;
select results_eq($$ select g.status::text, g.payment_status::text, g.amount_captured from l, booking.get_booking('ann', id) g $$, $$ values ('cancelled', 'cancelled', 0::bigint) $$,
  'the old booking shows no payment of its own');
select results_eq($$ select status::text, payment_status::text, amount_captured from booking.list_bookings('ann') order by 1 $$,
  $$ values ('cancelled', 'cancelled', 0::bigint), ('confirmed', 'captured', 3000) $$, 'the money is listed once, with the new one');
select * from finish();
