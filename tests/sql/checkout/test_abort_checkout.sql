-- booking.abort_checkout(): no session came of a request.
select no_plan();
select test.set_clock('2026-03-10 12:00Z');
create temp table o (n text, id uuid);
insert into o select n, test.begin_order(n, test.make_product(), 'k', 'req-' || n) from unnest(array['unknown', 'refused', 'done', 'lapsed']) n;
grant select on o to booking_app;
create function pg_temp.id(p_n text) returns uuid language sql as $$ select id from o where n = p_n $$;
set local role booking_app;
select is(booking.abort_checkout(pg_temp.id('unknown'), 'req-unknown', 'api_connection_error')::text, 'pending', 'nobody knows: the order stays');
select is(booking.abort_checkout(pg_temp.id('refused'), 'req-refused', 'refused: amount_too_small')::text, 'failed', 'Stripe refused it for good: the order failed');
reset role;
select results_eq($$ select n, (test.order_row(id)).last_error, (test.order_row(id)).closed_at from o where n in ('unknown', 'refused') order by 1 $$,
  $$ values ('refused', 'refused: amount_too_small', '2026-03-10 12:00Z'::timestamptz), ('unknown', 'api_connection_error', null) $$, 'the reason is kept');
select results_eq('select user_id from booking.concurrency_locks order by 1', $$ values ('done'), ('lapsed') $$, 'their locks are given back');
do $$ begin perform test.finish_order(pg_temp.id('done'), 'req-done'); end $$;
select is(booking.abort_checkout(pg_temp.id('done'), 'req-done', 'refused: too late')::text, 'pending', 'an order with a session does not fail');
select is((test.order_row(pg_temp.id('done'))).last_error, null, 'nor has it an error');
select is(booking.abort_checkout(pg_temp.id('refused'), 'req-refused', 'api_connection_error')::text, 'failed', 'what failed stays failed');
select is(booking.abort_checkout(pg_temp.id('lapsed'), 'somebody else', 'api_connection_error')::text, 'pending', 'a request without the lock');
select results_eq('select user_id from booking.concurrency_locks', $$ values ('lapsed') $$, 'takes nobody''s lock away');
select is(booking.abort_checkout(pg_temp.id('unknown'), 'r', repeat('x', 600))::text, 'pending', 'a long error');
select is(length((test.order_row(pg_temp.id('unknown'))).last_error), 500, 'is cut');
select is(booking.abort_checkout(pg_temp.id('unknown'), 'r', null)::text, 'pending', 'no error is no refusal');
select test.refused($$ select booking.abort_checkout('01890000-0000-7000-8000-000000000001', 'r', 'x') $$, 'PT404', 'order_not_found',
  '{"order_id": "01890000-0000-7000-8000-000000000001"}', 'no such order');
select results_eq($$ select action, actor, request_id from booking.audit_log where subject = pg_temp.id('refused')::text order by id $$,
  $$ values ('order.pending', 'refused', 'req-refused'), ('order.failed', 'refused', 'req-refused') $$, 'the failure is in the audit log');
select * from finish();
