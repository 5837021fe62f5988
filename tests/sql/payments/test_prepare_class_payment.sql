-- booking.prepare_class_payment(): one hold a student and class, and what its PaymentIntent is made of.
select * from no_plan();
select test.set_clock('2026-03-10 12:00Z');
create temp table c as select test.make_class(2) as class, test.make_class(1) as other;
grant select on c to booking_app;
set local role booking_app;
create temp table first as select p.* from c, booking.prepare_class_payment(p_user_id => 'ann', p_class_id => class, p_amount => 3000, p_idempotency_key => 'key-1') p;
reset role;
select results_eq($$ select booking_id, payment_id, amount, currency, capture_method, idempotency_key, stripe_payment_intent_id from first $$,
  $$ select b.id, b.payment_id, 3000::bigint, 'usd', 'automatic', b.payment_id::text, null::text from booking.bookings b where b.student_id = 'ann' $$,
  'the columns of prepare_payment_intent and the booking; a class is captured at once');
select is(metadata, jsonb_build_object('booking_id', booking_id, 'payment_id', payment_id, 'class_id', class, 'user_id', 'ann', 'idempotency_key', payment_id),
  'the metadata says which booking, which class, whose, and the key') from first, c;
select is(test.state(booking_id), 'pending/pending', 'a pending booking whose payment is born') from first;
select is(test.seats_taken(class), 1, 'it holds a seat') from c;
select results_eq($$ select scope, user_id, result_id, expires_at from booking.client_idempotency $$,
  $$ select 'class', 'ann', booking_id, '2026-03-11 12:00Z'::timestamptz from first $$, 'the key is kept for its time');
-- again
create function pg_temp.again(p_key text default null, p_amount bigint default null) returns setof first language sql as $$
  select p.* from c, booking.prepare_class_payment('ann', class, p_amount, p_key) p $$;
select results_eq('select * from pg_temp.again(' || args || ')', 'select * from first', 'the same hold again: ' || args)
from unnest(array['', 'null, 3000', '''key-1''', '''key-1'', 3000', '''key-2''']) args;
select is(test.seats_taken(class), 1, 'and no second seat') from c;
select test.refused('select pg_temp.again(null, 2999)', 'PT400', 'amount_mismatch', '{"field": "amount", "amount": 3000, "currency": "usd"}', 'another amount for the hold');
do $$ begin perform booking.record_payment_intent(payment_id, 'pi_1') from first; end $$;
select is(stripe_payment_intent_id, 'pi_1', 'once recorded the PaymentIntent is found again') from pg_temp.again();
do $$ begin perform test.event('payment_intent.' || s, test.intent(booking_id, s)) from first, unnest(array['processing', 'requires_action']) s;
  perform test.event('payment_intent.payment_failed', test.intent(booking_id, 'requires_payment_method'), p_created => now() + interval '1 s') from first; end $$;
select is(stripe_payment_intent_id, 'pi_1', 'a declined card is tried again on the same one') from pg_temp.again();
select test.set_clock('2026-03-10 13:00Z');
select is(a.booking_id, f.booking_id, 'past its time, as long as it was not cleaned up, the hold is given again') from pg_temp.again() a, first f;
-- keys
select test.refused($$ select booking.prepare_class_payment('ann', other, null, 'key-1') from c $$, 'PT409', 'idempotency_key_reused', '{"idempotency_key": "key-1"}',
  'a key is for one class');
select is(test.seats_taken(other), 0, 'and nothing is held') from c;
select lives_ok($$ select booking.prepare_class_payment('bob', class, null, 'key-1') from c $$, 'another student''s key is another key');
do $$ begin perform booking.cancel_booking_transaction('bob', test.seat_of(class, 'bob')) from c; end $$;
create temp table again as select p.booking_id from c, booking.prepare_class_payment('bob', class, null, 'key-1') p;
select is(k.result_id, a.booking_id, 'a key used again after the hold has ended is for the new one') from booking.client_idempotency k, again a where k.user_id = 'bob';
select test.set_clock('2026-03-11 12:00Z');
select lives_ok($$ select booking.prepare_class_payment('ann', other, null, 'key-1') from c $$, 'a day later the key is free');
select test.set_clock('2026-03-10 13:00Z');
do $$ begin perform booking.cancel_booking_transaction('ann', test.seat_of(other, 'ann')) from c; end $$;
-- full, begun
select test.refused($$ select booking.prepare_class_payment('late', class) from c $$, 'PT409', 'capacity_full', jsonb_build_object('class_id', class, 'reason', 'full'), 'no seat left') from c;
select test.refused($$ select booking.prepare_class_payment('late', class, 1) from c $$, 'PT400', 'amount_mismatch', '{"amount": 3000}', 'a wrong amount is told first');
select results_eq('select * from pg_temp.again()', 'select p.* from c, booking.prepare_class_payment(''ann'', class) p', 'whoever holds a seat in a full class is not refused');
select test.refused($$ select booking.prepare_class_payment('ann', other, $$ || a || ') from c', 'PT400', 'amount_mismatch', '{"amount": 3000, "currency": "usd"}', 'a new hold for ' || a)
from unnest(array[2999, 0, -3000]) a;
select is((select count(*) from c, booking.bookings b where b.slot_id = c.other and b.status = 'pending'), 0::bigint, 'holds nothing');
select test.set_clock('2026-03-17 12:00Z');
select test.refused($$ select booking.prepare_class_payment('late', other) from c $$, 'PT409', 'capacity_full', '{"reason": "started"}', 'a class that begins at this moment');
select test.set_clock('2026-03-10 13:00Z');
-- paid
do $$ begin perform test.event('payment_intent.succeeded', test.intent(booking_id, 'succeeded', 0)) from first; end $$;
select is(test.state(booking_id), 'pending/authorized', 'paid, the amount is still to come') from first;
select test.refused('select pg_temp.again()', 'PT409', 'duplicate_booking', jsonb_build_object('booking_id', booking_id, 'class_id', class), 'is paid') from first, c;
do $$ begin perform test.event('payment_intent.succeeded', test.intent(booking_id, 'succeeded')) from first; end $$;
select is(test.state(booking_id), 'confirmed/captured', 'paid and confirmed') from first;
select test.refused('select pg_temp.again(''key-2'')', 'PT409', 'duplicate_booking', jsonb_build_object('booking_id', booking_id), 'a second seat is not sold') from first;
select test.refused('select pg_temp.again(null, 1)', 'PT409', 'duplicate_booking', '{}', 'whatever the amount');
do $$ begin perform booking.cancel_booking_transaction('ann', booking_id) from first; end $$;
select isnt(a.booking_id, f.booking_id, 'after cancelling a new seat can be taken') from pg_temp.again() a, first f;
-- a booking that create_booking_transaction made is the hold
create temp table o as select test.make_class(1) as class;
create temp table ob as select test.book(class, 'ann') as id from o;
select is(p.booking_id, id, 'a booking made in another way is the hold') from ob, o, booking.prepare_class_payment('ann', class) p;
-- a lapsed hold
do $$ begin perform test.lapse(id) from ob; end $$;
create temp table renewed as select p.* from o, booking.prepare_class_payment('ann', class) p;
select isnt(booking_id, id, 'after the hold has lapsed, a new one') from renewed, ob;
select isnt(payment_id, (test.booking(id)).payment_id, 'with a payment of its own') from renewed, ob;
-- not a class
select test.refused(format('select booking.prepare_class_payment(%L, %L)', 'ann', class), 'PT404', 'class_not_found', jsonb_build_object('class_id', class), what)
from (values ('no such slot', gen_random_uuid()), ('a slot that an expert confirms', test.make_slot())) v (what, class);
create temp table x as select test.unique('expert') as expert;
create temp table n as select booking.publish_slot(expert, null, booking.clock() + interval '1 day', booking.clock() + interval '25 hours', 3, 'instant') as class from x;
select test.refused(format('select booking.prepare_class_payment(%L, %L)', 'ann', class), 'PT404', 'class_not_found', '{}', 'a slot without a session has no price') from n;
-- arguments
select test.refused(format('select booking.prepare_class_payment(%s)', args), 'PT400', 'invalid_request', jsonb_build_object('field', field), field || ': ' || left(args, 30))
from c, lateral (values (format('null, %L', class), 'user_id'), (format('%L, %L', '', class), 'user_id'), (format('%L, %L', repeat('x', 256), class), 'user_id'),
  ('''ann'', null', 'class_id'), (format('%L, %L, null, %L', 'ann', class, ''), 'idempotency_key'), (format('%L, %L, null, %L', 'ann', class, repeat('x', 256)), 'idempotency_key')) v (args, field);
select is_empty('select * from booking.check_invariants()', 'everything adds up');
select * from finish();
