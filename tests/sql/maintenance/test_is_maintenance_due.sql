-- booking.is_maintenance_due(): due when nobody has begun a run within the interval.
select * from no_plan();
select test.set_clock('2026-03-10 12:00Z');
select is(booking.is_maintenance_due('15 minutes'), true, 'nobody ever ran it');
do $$ begin perform booking.note_maintenance_run(); end $$;
select test.set_clock('2026-03-10 12:14:59.999999Z');
select is(booking.is_maintenance_due('15 minutes'), false, 'somebody ran it a moment less than the interval ago');
select test.set_clock('2026-03-10 12:15Z');
select is(booking.is_maintenance_due('15 minutes'), true, 'after exactly the interval it is due');
select is(booking.is_maintenance_due('0'), true, 'no interval: always');
select throws_ok($$ select booking.is_maintenance_due('-1 second') $$, 'PT400', 'invalid_request', 'a negative interval is refused');
select throws_ok($$ select booking.is_maintenance_due(null) $$, 'PT400', 'invalid_request', 'none too');
select * from finish();
