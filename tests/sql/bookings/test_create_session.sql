-- booking.create_session(): an expert's offer at a price in minor units.
select * from no_plan();
select test.set_clock('2026-03-10 12:00Z');
create temp table s as select booking.create_session('expert-1', '  An hour  ', 5000, 'USD') as id;
select results_eq($$ select x.id, x.expert_id, x.title, x.amount, x.currency::text, x.created_at, x.updated_at from booking.sessions x $$,
  $$ select id, 'expert-1', 'An hour', 5000::bigint, 'usd', '2026-03-10 12:00Z'::timestamptz, '2026-03-10 12:00Z'::timestamptz from s $$,
  'it is on sale: title trimmed, currency in lower case');
select is((select count(*) from booking.experts where expert_id = 'expert-1'), 1::bigint, 'a new expert is known from now on');
select isnt(booking.create_session('expert-1', 'An hour', 5000, 'usd'), (select id from s), 'the same offer again is another session');
select is((select count(*) from booking.experts), 1::bigint, 'of the same expert');

select lives_ok(format('select booking.create_session(''e'', %L, %s, %L)', title, amount, currency), what)
from (values ('x', 1, 'usd', 'one minor unit'), (repeat('ü', 200), 1, 'usd', 'a title of 200 characters'),
  ('x', 99999999999, 'usd', 'the largest amount'), ('x', 1, 'jpy', 'one yen'), ('x', 10, 'kwd', 'ten thousandths of a dinar'),
  ('x', 100, 'isk', 'one krona'), ('x', 100, 'UGX', 'one shilling')) v (title, amount, currency, what);
select test.refused(format('select booking.create_session(%L, %L, %s, %L)', expert, title, amount, currency), 'PT400', 'invalid_request',
  jsonb_build_object('field', field), what)
from (values
  (null, 'x', '1', 'usd', 'expert_id', 'no expert'),
  ('', 'x', '1', 'usd', 'expert_id', 'an empty expert'),
  (repeat('x', 256), 'x', '1', 'usd', 'expert_id', 'an expert''s id of 256 characters'),
  ('e', null, '1', 'usd', 'title', 'no title'),
  ('e', '', '1', 'usd', 'title', 'an empty title'),
  ('e', '   ', '1', 'usd', 'title', 'a title of blanks'),
  ('e', repeat('x', 201), '1', 'usd', 'title', 'a title of 201 characters'),
  ('e', 'x', 'null', 'usd', 'amount', 'no amount'),
  ('e', 'x', '0', 'usd', 'amount', 'for nothing'),
  ('e', 'x', '-1', 'usd', 'amount', 'a negative amount'),
  ('e', 'x', '100000000000', 'usd', 'amount', 'more than the largest amount'),
  ('e', 'x', '1005', 'kwd', 'amount', 'a dinar amount that Stripe does not accept'),
  ('e', 'x', '1050', 'isk', 'amount', 'a krona amount that Stripe does not accept'),
  ('e', 'x', '1', null, 'currency', 'no currency'),
  ('e', 'x', '1', 'us', 'currency', 'two letters'),
  ('e', 'x', '1', 'usdx', 'currency', 'four letters'),
  ('e', 'x', '1', 'u$d', 'currency', 'not letters')) v (expert, title, amount, currency, field, what);
select test.refused($$ select booking.create_session('e', 'x', 1005, 'kwd') $$, 'PT400', 'invalid_request', '{"field": "amount", "step": 10}',
  'DETAIL names the step');
select is((select count(*) from booking.experts where expert_id <> 'expert-1' and expert_id <> 'e'), 0::bigint, 'a refused offer leaves no expert behind');

-- what the table itself holds, whoever writes
select throws_ok(format('insert into booking.sessions (id, expert_id, title, amount, currency) values (gen_random_uuid(), ''e'', %L, %s, %L)',
  title, amount, currency), '23514', null, 'the table refuses ' || what)
from (values ('x', 1005, 'kwd', 'a dinar amount off the step'), ('x', 150, 'isk', 'a krona amount off the step'), ('x', 0, 'usd', 'nothing'),
  ('x', 100, 'USD', 'a currency in upper case'), ('', 100, 'usd', 'an empty title')) v (title, amount, currency, what);
select * from finish();
