-- booking.finish_checkout(): records the session that Stripe made.
select no_plan();
select test.set_clock('2026-03-10 12:00Z');
create temp table o as select test.begin_order('anna', test.make_product(), 'k', 'req-1') as id;
grant select on o to booking_app;
set local role booking_app;
create temp table done as select f.* from o, booking.finish_checkout(id, 'req-1', 'cs_1', 'https://checkout.test/1') f;
reset role;
select results_eq('select order_id, status::text, stripe_session_id, checkout_url, is_live from done',
  $$ select id, 'pending', 'cs_1', 'https://checkout.test/1', true from o $$, 'the order has its session, and may be paid');
select is((select count(*) from booking.concurrency_locks), 0::bigint, 'the lock is given back');
create temp table before as select x from o, booking.orders x where x.id = o.id;
select test.set_clock('2026-03-10 12:05Z');
select is(f.is_live, true, 'the same again') from o, booking.finish_checkout(id, 'req-2', 'cs_1', 'https://checkout.test/other') f;
select results_eq('select x from o, booking.orders x where x.id = o.id', 'select x from before', 'changes nothing');
select test.refused(format('select * from booking.finish_checkout(%L, %L, %L, %L)', id, 'req-1', 'cs_2', 'https://x'), 'PT409', 'checkout_session_mismatch',
  jsonb_build_object('order_id', id, 'stripe_session_id', 'cs_1'), 'another session: the first wins') from o;
create temp table p as select test.begin_order('berta', test.make_product(), 'k', 'req-3') as id;
select test.refused(format('select * from booking.finish_checkout(%L, %L, %L, %L)', id, 'req-3', 'cs_1', 'https://x'), 'PT409', 'checkout_session_taken',
  '{"stripe_session_id": "cs_1"}', 'a session of another order') from p;
select test.refused(format('select * from booking.finish_checkout(%L, %L, %L, %L)', id, 'req-3', session, url), 'PT400', 'invalid_request', jsonb_build_object('field', field), 'bad ' || field)
from p, (values ('stripe_session_id', null, 'https://x'), ('stripe_session_id', '', 'https://x'), ('url', 'cs_9', '')) v (field, session, url);
select test.refused($$ select * from booking.finish_checkout('01890000-0000-7000-8000-000000000001', 'r', 'cs_9', 'https://x') $$, 'PT404', 'order_not_found',
  '{"order_id": "01890000-0000-7000-8000-000000000001"}', 'no such order');

-- -- the request id governs only the lock
select test.set_clock('2026-03-10 12:06Z');
do $$ begin perform booking.begin_checkout('berta', (test.order_row(id)).product_id, 'k', 'req-4') from p; end $$;
select is(f.is_live, true, 'a request whose lock lapsed records all the same') from p, booking.finish_checkout(id, 'req-3', 'cs_p', 'https://x') f;
select results_eq('select request_id from booking.concurrency_locks', $$ values ('req-4') $$, 'and takes nobody else''s lock away');
select is(f.is_live, true, 'the one that went on has the same session from Stripe') from p, booking.finish_checkout(id, 'req-4', 'cs_p', 'https://x') f;
select is((select count(*) from booking.concurrency_locks), 0::bigint, 'and gives its lock back');

-- -- too late
select test.set_clock('2026-03-10 13:00Z');
create temp table late as select test.begin_order('carla', test.make_product(), 'k1', 'req-5') as id;
select test.set_clock('2026-03-10 13:01Z');
create temp table newer as select test.begin_order('carla', (test.order_row(id)).product_id, 'k2', 'req-6') as id from late;
select results_eq($$ select f.status::text, f.stripe_session_id, f.is_live from late, booking.finish_checkout(id, 'req-5', 'cs_late', 'https://x') f $$,
  $$ values ('expired', 'cs_late', false) $$, 'a newer order began: the session is recorded, and its address is not for the customer');
select is(test.order_commands(id), '{expire_checkout_session pending}', 'Stripe shall end it') from late;
select is(booking.has_active_lock(booking.checkout_lock_key('carla', (test.order_row(id)).product_id)), true, 'the newer one keeps its lock') from newer;
select is(f.is_live, false, 'the same again asks no second time') from late, booking.finish_checkout(id, 'req-5', 'cs_late', 'https://x') f;
select is(test.order_commands(id), '{expire_checkout_session pending}', 'one command') from late;

-- -- the same again, after the session ran out
create temp table over as select test.open_order() as id;
do $$ begin perform test.event('checkout.session.expired', test.checkout_session(id, 'expired')) from over; end $$;
select is(f.is_live, false, 'an order that has expired') from over, booking.finish_checkout(id, 'req', test.session_id(id), 'https://x') f;
select is(test.order_commands(id), '{}', 'has no session left to end') from over;

-- -- the event was faster
create temp table fast as select test.begin_order() as id;
do $$ begin perform test.event('checkout.session.completed', test.checkout_session(id)) from fast; end $$;
select results_eq($$ select f.status::text, f.checkout_url, f.is_live from fast, booking.finish_checkout(id, 'req', test.session_id(id), 'https://x') f $$,
  $$ values ('paid', 'https://x', false) $$, 'an order that is paid already only learns its address');
select is_empty('select * from booking.check_invariants()', 'the books are in order');
select * from finish();
