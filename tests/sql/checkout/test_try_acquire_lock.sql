-- booking.try_acquire_lock(): a lock for a while.
select no_plan();
select test.set_clock('2026-03-10 12:00Z');
set local role booking_app;
select is(booking.try_acquire_lock('k', 'anna', 'course-1', 'req-1'), true, 'a free lock is taken');
select is(booking.try_acquire_lock('k', 'anna', 'course-1', 'req-2'), false, 'an active one is not');
select is(booking.try_acquire_lock('k', 'anna', 'course-1', 'req-1'), false, 'not even by the request that holds it: its id may be in use twice');
select is(booking.try_acquire_lock('other', 'anna', 'course-2', 'req-2', '1 minute'), true, 'another key is another lock');
reset role;
select results_eq('select lock_key, user_id, product_id, request_id, acquired_at, expires_at from booking.concurrency_locks order by 1',
  $$ values ('k', 'anna', 'course-1', 'req-1', '2026-03-10 12:00Z'::timestamptz, '2026-03-10 12:00:10Z'::timestamptz),
            ('other', 'anna', 'course-2', 'req-2', '2026-03-10 12:00Z', '2026-03-10 12:01Z') $$, 'who, for what, until when: 10 s unless told otherwise');
select test.set_clock('2026-03-10 12:00:09.999Z');
select is(booking.try_acquire_lock('k', 'anna', 'course-1', 'req-3'), false, 'it holds until its last moment');
select test.set_clock('2026-03-10 12:00:10Z');
select is(booking.try_acquire_lock('k', 'anna', 'course-1', 'req-3'), true, 'then anybody takes it over: a crash blocks nobody for longer');
select is(request_id, 'req-3', 'the lock is the new request''s') from booking.concurrency_locks where lock_key = 'k';
select results_eq('select kind, held, happened_at from booking.checkout_events order by id', $$ values
  ('refused', null::interval, '2026-03-10 12:00Z'::timestamptz), ('refused', null, '2026-03-10 12:00Z'), ('refused', null, '2026-03-10 12:00:09.999Z'),
  ('lapsed', '10 seconds', '2026-03-10 12:00:10Z') $$, 'what was refused and what lapsed is counted');
select test.refused(format('select booking.try_acquire_lock(%L, %L, %L, %L, %L)', k, u, p, r, t), 'PT400', 'invalid_request',
  jsonb_build_object('field', field), 'no ' || field)
from (values ('lock_key', null, 'u', 'p', 'r', '1 second'), ('lock_key', repeat('x', 1001), 'u', 'p', 'r', '1 second'), ('user_id', 'k', '', 'p', 'r', '1 second'),
  ('product_id', 'k', 'u', null, 'r', '1 second'), ('request_id', 'k', 'u', 'p', null, '1 second'),
  ('ttl', 'k', 'u', 'p', 'r', null), ('ttl', 'k', 'u', 'p', 'r', '0 seconds')) v (field, k, u, p, r, t);
select * from finish();
