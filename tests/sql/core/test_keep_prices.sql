-- booking.keep_prices(): a price or title that is changed reaches the seat counters of the session's slots, and no booking that is made.
select * from no_plan();
create temp table t as
select s.lesson, s.other, booking.publish_slot('eva', s.lesson, booking.clock() + interval '1 day', booking.clock() + interval '25 hours') as slot,
  booking.publish_slot('eva', s.lesson, booking.clock() + interval '2 days', booking.clock() + interval '50 hours', 40) as class,
  booking.publish_slot('eva', s.other, booking.clock() + interval '3 days', booking.clock() + interval '73 hours') as others,
  booking.publish_slot('eva', null, booking.clock() + interval '4 days', booking.clock() + interval '97 hours') as free
from (select booking.create_session('eva', 'Lesson', 5000, 'usd') as lesson, booking.create_session('eva', 'Other', 700, 'eur') as other) s;
create temp table first as select b.* from t, booking.create_booking_transaction('ann', class) b;
select is(amount, 5000::bigint, 'a seat is sold at the price') from first;

update booking.sessions set amount = 9900, currency = 'chf' from t where id = lesson;
select results_eq($$ select distinct q.slot_id, q.amount, q.currency::text from booking.slot_seats q order by 1 $$,
  $$ select v.* from t, lateral (values (slot, 9900::bigint, 'chf'), (class, 9900, 'chf'), (others, 700, 'eur'), (free, null, null)) v (slot_id, amount, currency) order by 1 $$,
  'every counter of its slots, and no other one');
select results_eq($$ select b.amount, b.currency from t, booking.create_booking_transaction('bob', class) b $$, $$ values (9900::bigint, 'chf') $$, 'the next seat is sold at the new price');
select results_eq($$ select b.amount, b.currency::text from booking.bookings b, first f where b.id = f.booking_id $$, $$ values (5000::bigint, 'usd') $$, 'a booking that is made keeps its own');
select results_eq($$ select b.amount, b.currency from t, booking.create_booking_transaction('bob', free, lesson) b $$, $$ values (9900::bigint, 'chf') $$, 'a slot for several sessions has the price of the one that is named');
update booking.sessions set title = 'Longer lesson' from t where id = lesson;
select results_eq($$ select distinct q.slot_id, q.title from booking.slot_seats q order by 1 $$,
  $$ select v.* from t, lateral (values (slot, 'Longer lesson'), (class, 'Longer lesson'), (others, 'Other'), (free, null)) v (slot_id, title) order by 1 $$,
  'a title, too');
select is_empty('select * from booking.check_invariants()', 'the books are in order');
select * from finish();
