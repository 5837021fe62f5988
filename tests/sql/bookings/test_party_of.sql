-- booking.party_of(): which side somebody is.
select * from no_plan();
create temp table b as select test.book() as id;
select is(booking.party_of(test.booking(id), id, test.student(id)), 'student', 'the student') from b;
select is(booking.party_of(test.booking(id), id, test.expert(id)), 'expert', 'the expert') from b;
select is(booking.party_of(test.booking(o.id), o.id, 'me'), 'student', 'both: the student')
from (select test.book(test.make_slot(p_session => test.make_session('me')), 'me') as id) o;
select test.refused(format('select booking.party_of(test.booking(%L), %1$L, %L)', id, who), 'PT403', 'not_your_booking', jsonb_build_object('booking_id', id),
  coalesce(who, 'nobody')) from b, unnest(array['somebody', '', null]) who;
select test.refused($$ select booking.party_of(null, '00000000-0000-7000-8000-000000000000', 'x') $$, 'PT404', 'booking_not_found',
  '{"booking_id": "00000000-0000-7000-8000-000000000000"}', 'there is no such booking');
select * from finish();
