-- booking.has_active_lock(): whether somebody holds a lock.
select plan(4);
select test.set_clock('2026-03-10 12:00Z');
select is(booking.has_active_lock('k'), false, 'nobody does');
do $$ begin perform booking.try_acquire_lock('k', 'anna', 'course-1', 'req-1'); end $$;
set local role booking_app;
select is(booking.has_active_lock('k'), true, 'somebody does');
select is(booking.has_active_lock('other'), false, 'of another lock');
reset role;
select test.set_clock('2026-03-10 12:00:10Z');
select is(booking.has_active_lock('k'), false, 'a lapsed lock holds nobody up');
select * from finish();
