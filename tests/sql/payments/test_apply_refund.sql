-- booking.apply_refund(): one row a Stripe refund, whose status only moves forward.
select plan(20);
create temp table t as select test.captured_booking() as b;
create function pg_temp.say(p_id text, p_status text, p_more jsonb default '{}', p_source text default 'evt_1') returns void language sql as $$
  select booking.apply_refund((test.payment(b)).id, test.refund(b, 700, p_id, p_status) || p_more, p_source) from t $$;
create function pg_temp.status(p_id text) returns text language sql as $$ select status::text from booking.refunds where stripe_refund_id = p_id $$;
do $$ begin perform pg_temp.say('re_1', 'pending'); end $$;
select results_eq($$ select r.payment_id, r.amount, r.currency::text, r.status::text, r.command_id, r.failure_reason from booking.refunds r $$,
  $$ select (test.payment(b)).id, 700::bigint, 'usd', 'pending', null::uuid, null::text from t $$, 'a row is kept');
do $$ begin perform pg_temp.say('re_1', 'requires_action'); end $$;
select is(pg_temp.status('re_1'), 'requires_action', 'pending -> requires_action');
do $$ begin perform pg_temp.say('re_1', 'succeeded'); perform pg_temp.say('re_1', 'pending'); perform pg_temp.say('re_1', 'requires_action'); end $$;
select is(pg_temp.status('re_1'), 'succeeded', '-> succeeded, never back');
select is((select count(*) from booking.alerts), 0::bigint, 'no alert so far');
do $$ begin perform pg_temp.say('re_1', 'failed', '{"failure_reason": "lost_or_stolen_card"}'); end $$;
select results_eq($$ select status::text, failure_reason from booking.refunds $$, $$ values ('failed', 'lost_or_stolen_card') $$,
  'a refund that succeeded may fail later');
select results_eq($$ select kind, subject, detail - 'payment_id', times from booking.alerts $$,
  $$ values ('refund_failed', 're_1', '{"amount": 700, "reason": "lost_or_stolen_card"}'::jsonb, 1) $$, 'which a person is told');
do $$ begin perform pg_temp.say('re_1', 'succeeded'); perform pg_temp.say('re_1', 'failed'); perform pg_temp.say('re_1', 'canceled'); end $$;
select is(pg_temp.status('re_1'), 'failed', 'failed is final');
select is((select times from booking.alerts), 1, 'and is told once');
do $$ begin perform pg_temp.say('re_2', 'canceled'); perform pg_temp.say('re_2', 'succeeded'); perform pg_temp.say('re_2', 'failed'); end $$;
select is(pg_temp.status('re_2'), 'canceled', 'canceled is final, also when it is the first word');
select is((select count(*) from booking.alerts where kind = 'refund_failed' and subject = 're_2'), 1::bigint, 'and alerts too');
-- whose refund it is
create temp table c as
  select booking.queue_stripe_command((test.payment(b)).id, 'create_refund', test.intent_id(b), 700) as id from t;
do $$ begin perform pg_temp.say('re_3', 'pending', jsonb_build_object('metadata', jsonb_build_object('command_id', id))) from c; end $$;
select is((select command_id from booking.refunds where stripe_refund_id = 're_3'), (select id from c), 'metadata names the command');
do $$ begin perform pg_temp.say('re_4', 'pending', '{}', id::text) from c; end $$;
select is((select command_id from booking.refunds where stripe_refund_id = 're_4'), (select id from c), 'else the command whose answer it is');
do $$ begin perform pg_temp.say('re_5', 'succeeded', '{"metadata": {}}'); perform pg_temp.say('re_5', 'succeeded', '{"metadata": {}}', id::text) from c; end $$;
select is((select command_id from booking.refunds where stripe_refund_id = 're_5'), (select id from c),
  'an answer names its command also when an event without metadata was faster');
do $$ begin perform pg_temp.say('re_9', 'succeeded', '{"metadata": {}}'); perform pg_temp.say('re_10', 'failed', '{"metadata": {}}');
  perform pg_temp.say(r, 'pending', '{"metadata": {}}', id::text) from c, unnest(array['re_9', 're_10']) r; end $$;
select is(pg_temp.status('re_9') || ' ' || pg_temp.status('re_10'), 'succeeded failed', 'an older answer that names it takes no status back');
select is((select count(*) from booking.refunds f join c on c.id = f.command_id where f.stripe_refund_id in ('re_9', 're_10')), 2::bigint, 'but its command');
do $$ begin perform pg_temp.say('re_6', 'succeeded', '{"metadata": {"command_id": "01890000-0000-7000-8000-000000000001"}}');
  perform pg_temp.say('re_7', 'succeeded', '{"metadata": {"command_id": "abc"}}'); end $$;
select is((select count(*) from booking.refunds where stripe_refund_id in ('re_6', 're_7') and command_id is null), 2::bigint,
  'a command that is not ours is nobody''s');
-- made for a request by a command that a restored database does not know
create temp table q as select booking.request_refund((select student_id from booking.bookings where id = (select b from t)),
  (select b from t), 700, 'It was cancelled.') as r;
do $$ begin perform pg_temp.say('re_11', 'pending', jsonb_build_object('metadata', jsonb_build_object(
  'command_id', '01890000-0000-7000-8000-000000000002', 'request_id', (select request_id from booking.list_refund_requests())))); end $$;
select results_eq($$ select detail ->> 'status', (detail ->> 'amount')::bigint, detail ? 'request_id' from booking.alerts
  where kind = 'refund_unexpected' and subject = 're_11' $$, $$ values ('pending', 700::bigint, true) $$,
  'a person is told that a request which nobody has approved here has its money');
do $$ begin perform pg_temp.say('re_11', 'succeeded', '{"metadata": {"request_id": "abc"}}'); end $$;
select is((select times from booking.alerts where subject = 're_11'), 1, 'once');
do $$ begin perform pg_temp.say('re_12', 'succeeded', '{"metadata": {"request_id": "abc"}}'); end $$;
select results_eq($$ select detail - 'payment_id' from booking.alerts where subject = 're_12' $$,
  $$ values ('{"request_id": "abc", "amount": 700}'::jsonb) $$, 'and also when the request is gone');
select throws_ok($$ select pg_temp.say('re_8', 'lost') $$, '22P02', 'invalid input value for enum booking.refund_status: "lost"',
  'a status that Stripe does not document is an error');
select * from finish();
