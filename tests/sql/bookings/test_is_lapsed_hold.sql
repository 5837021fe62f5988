-- booking.is_lapsed_hold(): an instant slot's booking that ran out before it was paid, and nothing else.
select * from no_plan();
create temp table b as select n, test.book(test.make_slot(p_confirmation => c)) as id
from (values ('lapsed', 'instant'), ('expert''s', 'expert'), ('pending', 'instant'), ('student said expired', 'instant'), ('paid', 'instant')) v (n, c);
do $$ begin
  perform test.lapse(id) from b where n in ('lapsed', 'expert''s');
  perform booking.cancel_booking_transaction(test.student(id), id, 'expired') from b where n = 'student said expired';
  perform test.prepare(id), test.event('payment_intent.succeeded', test.intent(id, 'succeeded')) from b where n = 'paid';
end $$;
select is(booking.is_lapsed_hold(test.booking(id)), n = 'lapsed', n) from b order by n;
select is(booking.is_lapsed_hold(null), false, 'no booking');
-- a PaymentIntent canceled at Stripe ended it: nothing can be paid on it any more
create temp table c as select test.hold_seat(test.make_class()) as id;
do $$ begin perform test.event('payment_intent.canceled', test.intent(id, 'canceled')) from c; end $$;
select is(test.state(id), 'cancelled/cancelled', 'canceled at Stripe') from c;
select is(booking.is_lapsed_hold(test.booking(id)), false, 'has not lapsed') from c;
select * from finish();
