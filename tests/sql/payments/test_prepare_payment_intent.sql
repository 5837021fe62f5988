-- booking.prepare_payment_intent(): what the server needs to create a booking's one PaymentIntent, or to find it again.
select plan(32);
create temp table t as select n, test.book(test.make_slot(p_amount => 7900, p_currency => 'eur', p_confirmation => c)) as b
  from (values ('expert', 'expert'), ('instant', 'instant')) v (n, c);
create function pg_temp.b(p_n text default 'expert') returns uuid language sql as $$ select b from t where n = p_n $$;
create function pg_temp.prepare(p_amount bigint default null) returns setof record language sql as $$
  select p from booking.prepare_payment_intent(test.student(pg_temp.b()), pg_temp.b(), p_amount) p $$;
create temp table s as select n, test.student(b) as student, b from t;
grant select on s to booking_app; grant usage on schema test to booking_app;
set local role booking_app;
create temp table first as select p.* from s, booking.prepare_payment_intent(p_student_id => s.student, p_booking_id => s.b, p_amount => 7900) p where n = 'expert';
reset role;
select results_eq($$ select payment_id, amount, currency, capture_method, idempotency_key, stripe_payment_intent_id, metadata from first $$,
  $$ select b.payment_id, 7900::bigint, 'eur', 'manual', b.payment_id::text, null::text, jsonb_build_object('booking_id', b.id, 'payment_id', b.payment_id)
     from booking.bookings b where b.id = pg_temp.b() $$, 'amount and currency are the booking''s; the expert confirms, so the capture is manual');
select results_eq($$ select p.booking_id, p.amount, p.currency::text, p.status::text, p.amount_captured, p.amount_refunded from booking.payments p $$,
  $$ select pg_temp.b(), 7900::bigint, 'eur', 'pending', 0::bigint, 0::bigint $$, 'the payments row is born');
select results_eq($$ select p.* from booking.prepare_payment_intent(test.student(pg_temp.b()), pg_temp.b()) p $$, $$ select * from first $$,
  'asked again: the same, under the same key');
select is((select count(*) from booking.payments), 1::bigint, 'and the one row');
select is((select p.capture_method from booking.prepare_payment_intent(test.student(pg_temp.b('instant')), pg_temp.b('instant')) p), 'automatic',
  'an instant slot is captured automatically');
create temp table paid_at_once as select p.* from booking.prepare_payment_intent(test.student(pg_temp.b('instant')), pg_temp.b('instant')) p;
select results_eq('select metadata from paid_at_once',
  $$ select jsonb_build_object('booking_id', b.id, 'payment_id', b.payment_id, 'class_id', b.slot_id, 'user_id', b.student_id,
       'idempotency_key', b.payment_id) from booking.bookings b where b.id = pg_temp.b('instant') $$,
  'and says also which class, whose seat, and the key that is sent');
select is(metadata ->> 'idempotency_key', idempotency_key, 'which is that key') from paid_at_once;
do $$ begin perform booking.record_payment_intent((select payment_id from paid_at_once), 'pi_instant'); end $$;
select is((select p.metadata from booking.prepare_payment_intent(test.student(pg_temp.b('instant')), pg_temp.b('instant')) p),
  (select metadata from paid_at_once), 'it stays the same');
do $$ begin perform booking.record_payment_intent((select payment_id from first), 'pi_1'); end $$;
select is((select p.stripe_payment_intent_id from booking.prepare_payment_intent(test.student(pg_temp.b()), pg_temp.b()) p), 'pi_1',
  'once recorded the PaymentIntent is found again');
do $$ begin perform test.event('payment_intent.' || s, test.intent(pg_temp.b(), s)) from unnest(array['processing', 'requires_action']) s;
  perform test.event('payment_intent.payment_failed', test.intent(pg_temp.b(), 'requires_payment_method'), p_created => now() + interval '1 s'); end $$;
select is((test.payment(pg_temp.b())).status, 'failed', 'a declined card');
select is((select p.stripe_payment_intent_id from booking.prepare_payment_intent(test.student(pg_temp.b()), pg_temp.b()) p), 'pi_1',
  'is tried again on the same PaymentIntent');
-- refusals
select test.refused($$ select booking.prepare_payment_intent(test.student(pg_temp.b()), pg_temp.b(), 7899) $$, 'PT400', 'amount_mismatch',
  '{"field": "amount", "amount": 7900, "currency": "eur"}', 'another amount');
select test.refused($$ select booking.prepare_payment_intent(test.student(pg_temp.b()), pg_temp.b(), 0) $$, 'PT400', 'amount_mismatch', '{"amount": 7900}', 'nothing');
select test.refused($$ select booking.prepare_payment_intent(test.student(pg_temp.b()), pg_temp.b(), -7900) $$, 'PT400', 'amount_mismatch', '{"amount": 7900}', 'less than nothing');
select test.refused(format('select booking.prepare_payment_intent(test.expert(%1$L), %1$L)', pg_temp.b()), 'PT403', 'not_your_booking',
  jsonb_build_object('booking_id', pg_temp.b()), 'the expert does not pay');
select test.refused($$ select booking.prepare_payment_intent('somebody', pg_temp.b()) $$, 'PT403', 'not_your_booking', '{}', 'nor does somebody else');
select test.refused($$ select booking.prepare_payment_intent(null, pg_temp.b()) $$, 'PT403', 'not_your_booking', '{}', 'nor nobody');
select test.refused($$ select booking.prepare_payment_intent('somebody', '01890000-0000-7000-8000-000000000001') $$, 'PT404', 'booking_not_found',
  '{"booking_id": "01890000-0000-7000-8000-000000000001"}', 'no such booking');
select test.refused($$ select booking.prepare_payment_intent('somebody', null) $$, 'PT404', 'booking_not_found', '{"booking_id": null}', 'no id');
create function pg_temp.processed(p_expected jsonb, p_what text) returns text language sql as $$
  select test.refused('select booking.prepare_payment_intent(test.student(pg_temp.b()), pg_temp.b())', 'PT400', 'already_processed',
    p_expected || jsonb_build_object('booking_id', pg_temp.b()), p_what) $$;
do $$ begin perform test.event('payment_intent.amount_capturable_updated', test.intent(pg_temp.b())); end $$;
select pg_temp.processed('{"status": "pending", "payment_status": "authorized"}', 'authorized already');
do $$ begin perform test.confirm(pg_temp.b()); end $$;
select pg_temp.processed('{"status": "confirmed", "payment_status": "authorized"}', 'confirmed');
do $$ begin perform test.run_commands(pg_temp.b()); end $$;
select pg_temp.processed('{"status": "confirmed", "payment_status": "captured"}', 'captured');
do $$ begin perform booking.cancel_booking_transaction(test.student(pg_temp.b()), pg_temp.b()); end $$;
select pg_temp.processed('{"status": "cancelled", "payment_status": "captured"}', 'cancelled');
do $$ begin perform test.run_commands(pg_temp.b()); end $$;
select pg_temp.processed('{"status": "cancelled", "payment_status": "refunded"}', 'refunded');
do $$ begin delete from t; insert into t select 'expert', test.book(); perform booking.confirm_booking_transaction(test.expert(pg_temp.b()), pg_temp.b(), 'decline'); end $$;
select pg_temp.processed('{"status": "declined", "payment_status": null}', 'declined before anybody paid');
select is((select count(*) from booking.payments p where p.booking_id = pg_temp.b()), 0::bigint, 'nothing is born for it');
do $$ begin delete from t; insert into t select 'expert', test.book(); perform test.authorize(pg_temp.b());
  perform test.event('refund.created', test.refund(pg_temp.b(), 5000)); perform test.event('charge.captured', test.charge(pg_temp.b(), true)); end $$;
select pg_temp.processed('{"status": "pending", "payment_status": "refunded"}', 'paid and given back before the expert decided');
do $$ begin delete from t; insert into t select 'expert', test.book(); perform test.authorize(pg_temp.b());
  perform test.event('charge.captured', test.charge(pg_temp.b(), true)); end $$;
select pg_temp.processed('{"status": "pending", "payment_status": "captured"}', 'captured unasked');
do $$ begin perform test.event('refund.created', test.refund(pg_temp.b(), 50)); end $$;
select pg_temp.processed('{"status": "pending", "payment_status": "partially_refunded"}', 'and partially refunded');
select test.refused(format('select booking.prepare_payment_intent(test.student(%1$L), %1$L, 1)', pg_temp.b()), 'PT400', 'already_processed', '{}',
  'what is processed matters more than its amount');
do $$ begin delete from t; insert into t select 'expert', test.book(); end $$;
select test.refused($$ select booking.prepare_payment_intent(test.student(pg_temp.b()), pg_temp.b(), 1) $$, 'PT400', 'amount_mismatch', '{}', 'a refusal');
select is(test.payment(pg_temp.b()), null, 'writes nothing');
select * from finish();
