-- booking.audit(): one row with actor, time and request, in the commit of what it tells about.
select * from no_plan();
select test.set_clock('2026-03-10 12:00Z');
select lives_ok($$ select booking.audit('thing.done', 'a') $$, 'nobody named: the login did it');
select booking.on_request('req-1', 'ann');
select lives_ok($$ select booking.audit('thing.done', 'b') $$, 'on a request: the person did it');
select lives_ok($$ select booking.audit('thing.done', 'c', 'bob', '{"payment_id": "019cd7c6-be7b-7a5c-8123-456789abcdef", "amount": 5}') $$, 'a given actor wins');
select lives_ok($$ select booking.audit('thing.done', '019cd7c6-be7b-7a5c-8123-456789abcdef', 'bob', '{"payment_id": "019cd7c6-be7b-7a5c-8123-456789abcdef"}') $$,
  'a payment itself');
select results_eq($$ select subject, actor, action, payment_id, request_id, created_at, detail -> 'amount' from booking.audit_log where action = 'thing.done' order by id $$, $$ values
  ('a', session_user::text collate "default", 'thing.done', null::uuid, null, '2026-03-10 12:00Z'::timestamptz, null::jsonb),
  ('b', 'ann', 'thing.done', null, 'req-1', '2026-03-10 12:00Z', null),
  ('c', 'bob', 'thing.done', '019cd7c6-be7b-7a5c-8123-456789abcdef', 'req-1', '2026-03-10 12:00Z', '5'),
  ('019cd7c6-be7b-7a5c-8123-456789abcdef', 'bob', 'thing.done', null, 'req-1', '2026-03-10 12:00Z', null) $$,
  'actor, time, request and payment are kept; the payment is not written twice');
select * from finish();
