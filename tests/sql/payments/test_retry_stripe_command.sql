-- booking.retry_stripe_command(): gives a dead command a new life, after a person has looked at it.
select plan(14);
select test.set_clock('2026-03-10 12:00Z');
create temp table t as select n, test.book() as b from generate_series(1, 2) n;
do $$ begin perform test.authorize(b) from t; end $$;
create temp table c as select n, test.confirm(b) as id from t;
create function pg_temp.id(p_n int default 1) returns uuid language sql as $$ select id from c where n = p_n $$;
select test.refused($$ select booking.retry_stripe_command(pg_temp.id(), 'dba') $$, 'PT409', 'not_dead', '{"status": "pending"}', 'a waiting one');
do $$ begin perform booking.claim_stripe_command(id, 'w') from c; end $$;
select test.refused($$ select booking.retry_stripe_command(pg_temp.id(), 'dba') $$, 'PT409', 'not_dead',
  jsonb_build_object('command_id', pg_temp.id(), 'status', 'running'), 'a running one');
do $$ begin perform booking.fail_stripe_command(id, 'w', '{"http_status": 400}', true) from c; end $$;
select test.set_clock('2026-03-10 12:01Z');
do $$ begin perform booking.claim_stripe_command(id, 'w') from c; perform booking.fail_stripe_command(id, 'w', '{"http_status": 400}', false) from c; end $$;
select test.refused($$ select booking.retry_stripe_command(pg_temp.id(), null) $$, 'PT400', 'invalid_request', '{"field": "actor"}', 'by nobody');
select test.refused($$ select booking.retry_stripe_command('01890000-0000-7000-8000-000000000001', 'dba') $$, 'PT404', 'command_not_found',
  '{"command_id": "01890000-0000-7000-8000-000000000001"}', 'no such command');
select is((select count(*) from booking.alerts where resolved_at is null), 2::bigint, 'refusals change nothing');
grant select on c to booking_dba;
set local role booking_dba;
select is(booking.retry_stripe_command(p_command_id => (select id from c where n = 1), p_actor => 'dba')::text, '', 'a dead one');
reset role;
select results_eq($$ select status::text, run_at, attempts, key_generation from booking.stripe_commands where id = pg_temp.id() $$,
  $$ values ('pending', '2026-03-10 12:01Z'::timestamptz, 1, 2) $$, 'is due at once, its attempts anew, its key where it was');
select results_eq($$ select subject, resolved_by, resolved_at from booking.alerts where kind = 'command_dead' and resolved_at is not null $$,
  $$ select pg_temp.id()::text, 'dba', '2026-03-10 12:01Z'::timestamptz $$, 'its alert is resolved, the others are not');
select is(test.open_command(b), pg_temp.id(), 'it is the payment''s open command') from t where n = 1;
do $$ begin perform booking.cancel_booking_transaction(test.student(b), b) from t where n = 1; end $$;
select is(test.commands(b), array['capture_payment_intent pending'], 'it was sent before: no later decision takes its place before it is known') from t where n = 1;
select is((select idempotency_key from booking.claim_stripe_command(pg_temp.id(), 'w')), pg_temp.id() || ':2', 'the same key again');
select is(booking.complete_stripe_command(pg_temp.id(), 'w', test.answer(pg_temp.id())), true, 'it is carried out');
do $$ begin perform booking.cancel_booking_transaction(test.student(b), b) from t where n = 2; end $$;
select test.refused($$ select booking.retry_stripe_command(pg_temp.id(2), 'dba') $$, 'PT409', 'command_open', jsonb_build_object('command_id', pg_temp.id(2)),
  'while another command of the PaymentIntent is open');
select is((select status::text from booking.stripe_commands where id = pg_temp.id(2)), 'dead', 'it stays dead');
select * from finish();
