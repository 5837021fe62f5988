-- booking.create_booking_transaction(): one seat for a student, at the session's price, with or without an idempotency key.
select * from no_plan();
select test.set_clock('2026-03-10 12:00Z');
create temp table s as select test.make_session('expert-1') as session, test.make_session('expert-1', 7000, 'eur') as session_2, test.make_session('expert-2') as foreign_session;
create temp table f as select test.make_slot(p_session => session) as slot from s;

create temp table b as select c.* from f, booking.create_booking_transaction('student-1', slot, p_details => '{"note": "hi"}') c;
select results_eq($$ select status::text, expert_id, amount, currency, scheduled_at, expires_at, was_created from b $$,
  $$ values ('pending', 'expert-1', 5000::bigint, 'usd', '2026-03-17 12:00Z'::timestamptz, '2026-03-10 12:30Z'::timestamptz, true) $$,
  'the answer: pending, the session''s price, when it is and until when it must be paid');
select results_eq(
  $$ select slot_id, session_id, student_id, expert_id, payment_id, seat_part, status::text, confirmation::text, amount, currency::text,
       scheduled_at, ends_at, details, cancelled_by, cancellation_reason, refund_percent, confirmed_at, closed_at, created_at, updated_at
     from booking.bookings where id = (select booking_id from b) $$,
  $$ select slot, session, 'student-1', 'expert-1', payment_id, 0::smallint, 'pending', 'expert', 5000::bigint, 'usd',
       '2026-03-17 12:00Z'::timestamptz, '2026-03-17 13:00Z'::timestamptz, '{"note": "hi"}'::jsonb, null::text, null::text, null::smallint,
       null::timestamptz, null::timestamptz, '2026-03-10 12:00Z'::timestamptz, '2026-03-10 12:00Z'::timestamptz from s, f, b $$,
  'the row says the same');
select isnt(payment_id, null, 'the payment''s id is fixed') from b;
select is(substr(i.id::text, 1, 18), substr(booking.new_id(p_near => f.slot)::text, 1, 18),
    format('the %s''s id is like new_id()''s: the moment, version 7, the slot''s shard', i.of))
  from f, b, lateral (values ('booking', b.booking_id), ('payment', b.payment_id)) i (of, id);
select isnt(booking_id, payment_id, 'and they differ') from b;
select is((select count(*) from booking.payments), 0::bigint, 'but no payment is written before it is needed');
select is(test.seats_taken(slot), 1, 'the seat is taken') from f;
select is((select count(*) from booking.booking_events), 0::bigint, 'the booking''s row is the record of its creation');
select is((select count(*) from booking.stripe_commands), 0::bigint, 'Stripe is told nothing');
select results_eq($$ select metric::text, at, quantity, amount from booking.stat_deltas where metric in ('booked', 'seats') order by 1 $$,
  $$ values ('booked', '2026-03-10 12:00Z'::timestamptz, 1::bigint, 0::bigint), ('seats', '2026-03-17 12:00Z'::timestamptz, 1::bigint, -1::bigint) $$,
  'the statistics count the booking, the seat, and one open slot less');
update booking.sessions set amount = 9900 where id = (select session from s);
select is((test.booking(booking_id)).amount, 5000::bigint, 'a later price is not this booking''s') from b;
update booking.sessions set amount = 5000 where id = (select session from s);

-- who is second
select test.refused(format('select * from booking.create_booking_transaction(%L, %L)', 'student-2', slot), 'PT409', 'slot_unavailable',
  jsonb_build_object('slot_id', slot, 'reason', 'full'), 'the second student gets slot_unavailable') from f;
select test.refused(format('select * from booking.create_booking_transaction(%L, %L)', 'student-1', slot), 'PT409', 'duplicate_booking',
  jsonb_build_object('slot_id', slot, 'booking_id', booking_id), 'the first one is told of the booking he has') from f, b;
select is((select count(*) from booking.bookings), 1::bigint, 'neither leaves a row');

-- many seats
create temp table many as select c as capacity, test.make_slot(p_session => test.make_session('class-' || c), p_capacity => c) as slot
  from unnest(array[16, 17, 1000000]) c;
do $$ begin perform test.book(m.slot, 'x-' || n) from many m, generate_series(1, 17) n where n <= m.capacity; end $$;
select is(test.seats_taken(slot), least(capacity, 17), format('%s of %s seats taken', least(capacity, 17), capacity)) from many;
select test.refused(format('select * from booking.create_booking_transaction(%L, %L)', 'late', slot), 'PT409', 'slot_unavailable',
  jsonb_build_object('slot_id', slot, 'reason', 'full'), format('seat %s of %s', capacity + 1, capacity)) from many where capacity <= 17;
select test.refused(format('select * from booking.create_booking_transaction(%L, %L)', 'x-1', slot), 'PT409', 'duplicate_booking',
  jsonb_build_object('slot_id', slot), format('twice the same student at %s seats', capacity)) from many;
select is(test.seats_taken(slot), 17, 'a refused duplicate gives its seat back') from many where capacity = 1000000;
select is((select count(distinct seat_part) from booking.bookings where slot_id = slot), 2::bigint, 'the 17th seat lies in the second row') from many where capacity = 17;
select throws_ok(format('update booking.slot_seats set taken = capacity + 1 where slot_id = %L', slot), '23514', null,
  'the table itself never oversells, whoever writes: one too many') from f;
select throws_ok(format('update booking.slot_seats set taken = -1 where slot_id = %L', slot), '23514', null, 'nor does it count below zero') from f;

-- sessions
create temp table o as select booking.publish_slot('expert-1', null, '2026-03-20 10:00Z', '2026-03-20 11:00Z', 3, 'instant') as slot;
select results_eq(format('select amount, currency, expert_id from booking.create_booking_transaction(%L, %L, %L)', 'student-3', slot, session_2),
  $$ values (7000::bigint, 'eur', 'expert-1') $$, 'a slot open to any session takes the one that is named') from o, s;
select is((select confirmation::text from booking.bookings where student_id = 'student-3'), 'instant', 'the confirmation is the slot''s');
select test.refused(format('select * from booking.create_booking_transaction(%L, %L)', 'student-4', slot), 'PT400', 'invalid_request',
  '{"field": "session_id"}', 'such a slot without a session') from o;
select test.refused(format('select * from booking.create_booking_transaction(%L, %L, %L)', 'student-4', slot, '00000000-0000-7000-8000-000000000000'),
  'PT404', 'session_not_found', '{"session_id": "00000000-0000-7000-8000-000000000000"}', 'a session that is not there') from o;
select test.refused(format('select * from booking.create_booking_transaction(%L, %L, %L)', 'student-4', slot, foreign_session),
  'PT400', 'session_mismatch', jsonb_build_object('session_id', foreign_session, 'slot_id', slot), 'another expert''s session') from o, s;
select test.refused(format('select * from booking.create_booking_transaction(%L, %L, %L)', 'student-4', slot, session_2),
  'PT400', 'session_mismatch', jsonb_build_object('session_id', session_2, 'slot_id', slot), 'a slot of one session, asked for another') from f, s;
select lives_ok(format('select * from booking.create_booking_transaction(%L, %L, %L)', 'student-5', test.make_slot('20 days', p_session => session), session),
  'naming the slot''s own session') from s;

-- bad input
select test.refused($$ select * from booking.create_booking_transaction('student-1', '00000000-0000-7000-8000-000000000000') $$, 'PT404', 'slot_not_found',
  '{"slot_id": "00000000-0000-7000-8000-000000000000"}', 'a slot that is not there');
select test.refused(format('select * from booking.create_booking_transaction(%L, %L, p_idempotency_key => %L, p_details => %L)', student, v.slot, key, details),
  'PT400', 'invalid_request', jsonb_build_object('field', field), what)
from o, lateral (values
  (null, o.slot, null, '{}', 'student_id', 'no student'),
  ('', o.slot, null, '{}', 'student_id', 'an empty student'),
  (repeat('x', 256), o.slot, null, '{}', 'student_id', 'a student''s id of 256 characters'),
  ('s', null, null, '{}', 'slot_id', 'no slot'),
  ('s', (select f.slot from f), '', '{}', 'idempotency_key', 'an empty key'),
  ('s', (select f.slot from f), repeat('x', 256), '{}', 'idempotency_key', 'a key of 256 characters'),
  ('s', o.slot, null, null, 'details', 'no details'),
  ('s', o.slot, null, '[]', 'details', 'details that are no object'),
  ('s', o.slot, null, 'null', 'details', 'details that are null')) v (student, slot, key, details, field, what);
select test.refused(format('select * from booking.create_booking_transaction(%L, %L, p_details => jsonb_build_object(''a'', %s))', 'student-1', slot,
  '(select string_agg(md5(n::text), '''') from generate_series(1, 600) n)'), 'PT400', 'invalid_request', '{"field": "details"}', 'details of 19 kB') from f;
select lives_ok(format('select * from booking.create_booking_transaction(%L, %L)', student, test.make_slot('30 days')), what)
from (values ('x', 'a student''s id of one character'), (repeat('x', 255), 'of 255 characters')) v (student, what);

-- past slots
create temp table past as select test.make_slot('1 hour') as slot;
select test.set_clock('2026-03-10 13:00Z');
select test.refused(format('select * from booking.create_booking_transaction(%L, %L)', 'student-1', slot), 'PT409', 'slot_unavailable',
  jsonb_build_object('slot_id', slot, 'reason', 'started'), 'a slot that starts at this very moment has started') from past;
select is(test.seats_taken(slot), 0, 'and its seat stays free') from past;
select test.set_clock('2026-03-10 12:59:59.999999Z');
select lives_ok(format('select * from booking.create_booking_transaction(%L, %L)', 'student-1', slot), 'a microsecond before it can be booked') from past;

-- idempotency keys
select test.set_clock('2026-03-10 14:00Z');
create temp table k as select test.make_slot('5 days') as slot, test.make_slot('5 days') as slot_2, test.make_slot('5 days') as slot_3;
create temp table first as select c.* from k, booking.create_booking_transaction('student-1', slot, p_idempotency_key => 'key-1', p_details => '{"a": 1, "b": 2}') c;
select is(was_created, true, 'with a new key a booking is made') from first;
select is((select count(*) from booking.client_idempotency), 1::bigint, 'and the key is kept');
create temp table again as select c.* from k, booking.create_booking_transaction('student-1', slot, p_idempotency_key => 'key-1', p_details => '{"b": 2, "a": 1}') c;
select results_eq('select booking_id, status, payment_id, expert_id, amount, currency, scheduled_at, expires_at, was_created from again',
  'select booking_id, status, payment_id, expert_id, amount, currency, scheduled_at, expires_at, false from first',
  'the same request again answers the first booking');
select is(test.seats_taken(slot), 1, 'and takes no second seat') from k;
select test.refused(format('select * from booking.create_booking_transaction(%L, %L, %L, p_idempotency_key => %L, p_details => %L)', 'student-1',
  v.slot, v.session, 'key-1', v.details), 'PT409', 'idempotency_key_reused', '{"idempotency_key": "key-1"}', 'the same key for ' || what)
from k, s, lateral (values (k.slot_2, null, '{"a": 1, "b": 2}', 'another slot'), (k.slot, null, '{"a": 2}', 'other details'),
  (k.slot, (select session_id from booking.slots x where x.id = k.slot), '{"a": 1, "b": 2}', 'a session named')) v (slot, session, details, what);
select test.refused(format('select * from booking.create_booking_transaction(%L, %L, p_idempotency_key => %L)', 'student-2', slot, 'key-1'),
  'PT409', 'slot_unavailable', '{"reason": "full"}', 'keys are per student: another one''s request is a request of its own') from k;
select is((select count(*) from booking.client_idempotency), 1::bigint, 'a refused request keeps no key');
do $$ begin perform booking.create_booking_transaction('student-2', slot_2, p_idempotency_key => 'key-2') from k; end $$;
do $$ begin perform booking.cancel_booking_transaction('student-1', booking_id) from first; end $$;
select is(c.status::text || ' ' || c.was_created, 'cancelled false', 'it answers the booking as it is now')
from k, booking.create_booking_transaction('student-1', slot, p_idempotency_key => 'key-1', p_details => '{"a": 1, "b": 2}') c;

select test.set_clock('2026-03-11 13:59:59.999999Z');
select is(c.was_created, false, 'a microsecond before its 24 hours are over a key still answers')
from k, booking.create_booking_transaction('student-1', slot, p_idempotency_key => 'key-1', p_details => '{"a": 1, "b": 2}') c;
select test.set_clock('2026-03-11 14:00Z');
create temp table renewed as select c.* from k, booking.create_booking_transaction('student-1', slot_3, p_idempotency_key => 'key-1') c;
select is(was_created, true, 'at 24 hours it is free for a new request') from renewed;
select is((select expires_at from booking.client_idempotency where idempotency_key = 'key-1'), '2026-03-12 14:00Z'::timestamptz, 'for another 24 hours');
update booking.settings set idempotency_ttl = '1 hour', booking_timeout = '5 minutes';
select is(c.expires_at, '2026-03-11 14:05Z'::timestamptz, 'settings say how long a booking waits')
from booking.create_booking_transaction('student-9', test.make_slot('6 days'), p_idempotency_key => 'key-9') c;
select is((select expires_at from booking.client_idempotency where idempotency_key = 'key-9'), '2026-03-11 15:00Z'::timestamptz, 'and how long a key lives');

-- after a booking ended its seat and its student are free
create temp table r as select test.make_slot('8 days') as slot;
do $$ begin perform test.book(slot, 'student-1') from r;
  perform booking.cancel_booking_transaction('student-1', x.id) from booking.bookings x, r where x.slot_id = r.slot; end $$;
select lives_ok(format('select * from booking.create_booking_transaction(%L, %L)', 'student-1', slot), 'a student may book again what he cancelled') from r;
select throws_ok($$
  insert into booking.bookings (id, slot_id, session_id, student_id, expert_id, payment_id, seat_part, confirmation, currency, amount, scheduled_at, ends_at)
  select gen_random_uuid(), x.slot_id, x.session_id, x.student_id, x.expert_id, gen_random_uuid(), 0, 'expert', 'usd', 1, now(), now()
  from booking.bookings x, r where x.slot_id = r.slot and x.status = 'pending' $$, '23505', null,
  'the table itself holds one live booking a student and slot');
select is_empty('select * from booking.check_invariants()', 'the books are in order');
select * from finish();
