-- booking.expire_lost_orders(): ends orders that never got a session.
select no_plan();
select test.set_clock('2026-03-10 12:00Z');
create temp table o as select test.begin_order() as lost, test.begin_order() as lost_too, test.open_order() as with_session;
select test.set_clock('2026-03-11 11:59:59Z');
select is(booking.expire_lost_orders(), 0, 'as long as its key lives, an order may go on');
create temp table young as select test.begin_order() as id;
select test.set_clock('2026-03-11 12:00Z');
grant usage on schema test to booking_cron;
set local role booking_cron;
select is(booking.expire_lost_orders(1), 1, 'a batch');
select is(booking.expire_lost_orders(), 1, 'the rest');
select is(booking.expire_lost_orders(), 0, 'that is all');
select test.refused('select booking.expire_lost_orders(0)', 'PT400', 'invalid_request', '{"field": "batch_size"}', 'an empty batch');
reset role;
select results_eq($$ select (test.order_row(lost)).status::text, (test.order_row(lost_too)).status::text, (test.order_row(with_session)).status::text,
  (test.order_row(lost)).closed_at from o $$, $$ values ('expired', 'expired', 'pending', '2026-03-11 12:00Z'::timestamptz) $$,
  'an order with a session is Stripe''s to end');
select is((test.order_row(id)).status::text, 'pending', 'a younger one stays') from young;
select is((select a.actor from booking.audit_log a, o where a.subject = o.lost::text and a.action = 'order.expired'), 'system', 'the audit log says that it was the system');
update booking.settings set idempotency_ttl = '1 second';
select is(booking.expire_lost_orders(), 1, 'how long a key lives is a setting') from (select test.set_clock('2026-03-11 12:00:01Z')) x;
select is_empty('select * from booking.check_invariants()', 'the books are in order');
select * from finish();
