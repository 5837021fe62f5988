-- booking.get_checkout_stats(): locks, repeated keys and orders.
select no_plan();
select test.set_clock('2026-03-10 12:00Z');
select results_eq('select locks_taken, locks_released, locks_lapsed, locks_held, locks_refused, avg_lock_duration, max_lock_duration, keys_repeated, orders, orders_by_status, paid_amounts from booking.get_checkout_stats()',
  $$ values (0::bigint, 0::bigint, 0::bigint, 0::bigint, 0::bigint, null::interval, null::interval, 0::bigint, 0::bigint,
     '{"pending": 0, "paid": 0, "failed": 0, "expired": 0}'::jsonb, '{}'::jsonb) $$, 'nothing has happened');
create temp table o as select test.begin_order('anna', test.make_product(1900, 'eur'), 'k') as paid, test.begin_order('berta', test.make_product(500, 'usd'), 'k') as paid_too,
  test.begin_order('carla', test.make_product(700, 'usd'), 'k') as refused, test.begin_order('dora', test.make_product(), 'k') as crashed;
do $$ begin perform booking.report_checkout_conflict(), booking.report_checkout_conflict(); end $$;
select test.set_clock('2026-03-10 12:00:01Z');
do $$ begin perform test.finish_order(paid) from o; end $$;
select test.set_clock('2026-03-10 12:00:03Z');
do $$ begin perform test.finish_order(paid_too) from o; perform booking.abort_checkout(refused, 'req', 'refused: x') from o; end $$;
do $$ begin perform test.event('checkout.session.completed', test.checkout_session(x)) from o, unnest(array[paid, paid_too]) x; end $$;
do $$ begin perform booking.begin_checkout('anna', (test.order_row(paid)).product_id, 'k', 'r') from o; end $$;
select results_eq('select locks_taken, locks_released, locks_lapsed, locks_held, locks_refused from booking.get_checkout_stats()',
  'values (4::bigint, 3::bigint, 0::bigint, 1::bigint, 2::bigint)', 'four were taken, one is held, two requests were turned away');
select test.set_clock('2026-03-10 12:00:10Z');
set local role booking_dba;
select results_eq('select locks_taken, locks_released, locks_lapsed, locks_held from booking.get_checkout_stats()', 'values (4::bigint, 3::bigint, 1::bigint, 0::bigint)', 'it has lapsed');
reset role;
do $$ begin perform booking.clean_expired_locks(); end $$;
set local role booking_app;
select results_eq('select locks_taken, locks_released, locks_lapsed, locks_held from booking.get_checkout_stats()', 'values (4::bigint, 3::bigint, 1::bigint, 0::bigint)', 'cleaning changes no figure');
select results_eq('select avg_lock_duration, max_lock_duration, keys_repeated from booking.get_checkout_stats()',
  $$ values ('4.25 seconds'::interval, '10 seconds'::interval, 1::bigint) $$, 'how long, and how often a key came again');
select results_eq('select orders, orders_by_status, paid_amounts from booking.get_checkout_stats()',
  $$ values (4::bigint, '{"pending": 1, "paid": 2, "failed": 1, "expired": 0}'::jsonb, '{"eur": 1900, "usd": 500}'::jsonb) $$, 'orders by status, paid amounts by currency');
select results_eq($$ select locks_taken, locks_refused, orders from booking.get_checkout_stats('2026-03-10 12:00:02Z', '2026-03-10 12:00:10Z') $$,
  'values (2::bigint, 0::bigint, 0::bigint)', 'a window counts locks by their end');
select is((select orders from booking.get_checkout_stats(null, '2026-03-10 12:00Z')), 0::bigint, 'a window ends before its end');
select * from finish();
