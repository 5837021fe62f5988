-- booking.create_product(): puts a product on sale.
select no_plan();
select test.set_clock('2026-03-10 12:00Z');
set local role booking_app;
select is(booking.create_product('course-1', '  SQL course ', 4900, 'EUR'), 'course-1', 'the answer is the product''s id');
reset role;
select results_eq($$ select name, amount, currency::text, created_at from booking.products where id = 'course-1' $$,
  $$ values ('SQL course', 4900::bigint, 'eur', '2026-03-10 12:00Z'::timestamptz) $$, 'name and currency are kept tidy');
select is(booking.create_product('course-1', 'SQL course', 4900, 'eur'), 'course-1', 'the same again changes nothing');
select results_eq($$ select action, detail from booking.audit_log where subject = 'course-1' $$,
  $$ values ('product.created', '{"amount": 4900, "currency": "eur"}'::jsonb) $$, 'and is in the audit log once');
select test.refused(format('select booking.create_product(%L, %L, %s, %L)', 'course-1', name, amount, currency), 'PT409', 'product_exists',
  '{"product_id": "course-1"}', 'the id is taken: another ' || what)
from (values ('name', 'SQL', 4900, 'eur'), ('price', 'SQL course', 5900, 'eur'), ('currency', 'SQL course', 4900, 'usd')) v (what, name, amount, currency);
select test.refused(format('select booking.create_product(%L, %L, %L, %L)', id, name, amount, currency), 'PT400', 'invalid_request',
  jsonb_build_object('field', field), what)
from (values ('product_id', null, 'n', 100, 'eur', 'no id'), ('product_id', '', 'n', 100, 'eur', 'an empty id'),
  ('product_id', repeat('x', 256), 'n', 100, 'eur', 'an id that is too long'), ('name', 'p', null, 100, 'eur', 'no name'),
  ('name', 'p', '  ', 100, 'eur', 'a blank name'), ('name', 'p', repeat('x', 201), 100, 'eur', 'a name that is too long'),
  ('amount', 'p', 'n', null, 'eur', 'no price'), ('amount', 'p', 'n', 0, 'eur', 'a price of nothing'),
  ('amount', 'p', 'n', 100000000000, 'eur', 'a price that Stripe does not take'), ('amount', 'p', 'n', 1005, 'kwd', 'a price between two steps'),
  ('currency', 'p', 'n', 100, null, 'no currency'), ('currency', 'p', 'n', 100, 'euro', 'no currency of three letters')) v (field, id, name, amount, currency, what);
select is((select count(*) from booking.products), 1::bigint, 'a refusal leaves nothing');
select * from finish();
