-- booking.release_lock(): gives a lock back.
select plan(10);
select test.set_clock('2026-03-10 12:00Z');
do $$ begin perform booking.try_acquire_lock('k', 'anna', 'course-1', 'req-1'); end $$;
select test.set_clock('2026-03-10 12:00:02Z');
set local role booking_app;
select is(booking.release_lock('k', 'req-2'), false, 'another request cannot');
select is(booking.has_active_lock('k'), true, 'the lock stays');
select is(booking.release_lock('k', 'req-1'), true, 'its request can');
select is(booking.has_active_lock('k'), false, 'the lock is free');
select is(booking.release_lock('k', 'req-1'), false, 'once');
select is(booking.release_lock('nothing', null), false, 'a lock that nobody has');
reset role;
select results_eq('select kind, held, happened_at from booking.checkout_events',
  $$ values ('released', '2 seconds'::interval, '2026-03-10 12:00:02Z'::timestamptz) $$, 'how long it was held is counted');
do $$ begin perform booking.try_acquire_lock('k', 'anna', 'course-1', 'req-1'); end $$;
select test.set_clock('2026-03-10 12:05Z');
select is(booking.release_lock('k', 'req-1'), false, 'after it has lapsed it was nobody''s any more');
select is((select count(*) from booking.concurrency_locks), 0::bigint, 'its row is gone');
select results_eq('select kind, held, happened_at from booking.checkout_events order by id offset 1',
  $$ values ('lapsed', '10 seconds'::interval, '2026-03-10 12:00:12Z'::timestamptz) $$, 'and counted as lapsed when it did');
select * from finish();
