-- booking.get_product(): a product on sale.
select plan(2);
select test.set_clock('2026-03-10 12:00Z');
do $$ begin perform booking.create_product('course-1', 'SQL course', 4900, 'eur'); end $$;
grant usage on schema test to booking_app;
set local role booking_app;
select results_eq($$ select * from booking.get_product('course-1') $$,
  $$ values ('course-1', 'SQL course', 4900::bigint, 'eur', '2026-03-10 12:00Z'::timestamptz) $$, 'its name and price');
select test.refused($$ select * from booking.get_product('course-2') $$, 'PT404', 'product_not_found', '{"product_id": "course-2"}', 'no such product');
select * from finish();
