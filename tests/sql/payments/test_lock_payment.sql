-- booking.lock_payment(): locks seat counter (on request) -> booking -> payment. (That others really wait for these rows
-- is shown with two connections in tests/py.)
select plan(7);
create temp table t as select test.book() as b;
select is(booking.lock_payment((test.booking(b)).payment_id, true), null, 'before the payments row is born there is nothing to lock') from t;
do $$ begin perform test.authorize(b) from t; end $$;
select is((booking.lock_payment((test.booking(b)).payment_id, false)).id, b, 'it returns the booking') from t;
select is(booking.lock_payment((test.booking(b)).payment_id, true), test.booking(b), 'as it is, whole') from t;
select is((booking.lock_payment('01890000-0000-7000-8000-000000000001', true)).id, null, 'no such payment: a null row');
select is((booking.lock_payment(null, false)).id, null, 'no id: a null row');
create temp table l as select test.hold_seat(test.make_class()) as b;
do $$ begin perform test.lapse(b), test.event('payment_intent.succeeded', test.intent(b, 'succeeded')) from l; end $$;
select isnt((booking.lock_payment((test.booking(b)).payment_id, true)).id, b, 'a payment that moved on: not the booking that it left') from l;
select is((booking.lock_payment((test.booking(b)).payment_id, true)).status::text, 'confirmed', 'but the one that it belongs to') from l;
select * from finish();
