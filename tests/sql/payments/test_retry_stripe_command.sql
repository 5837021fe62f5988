-- booking.retry_stripe_command(): gives a dead command a new life, after a person has looked at it.
select plan(28);
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
select ok(exists (select from booking.audit_log a where a.action = 'stripe_command.retried' and a.actor = 'dba' and a.payment_id is not null),
  'the audit log says who gave it a new life');
-- a command for an order
create temp table o as select test.open_order() as id;
create temp table oc as select booking.queue_session_expiry(id) as id from o;
do $$ begin perform booking.claim_stripe_command(id, 'w'), booking.fail_stripe_command(id, 'w', '{"http_status": 400}', false) from oc; end $$;
select lives_ok($$ select booking.retry_stripe_command(id, 'dba') from oc $$, 'the end of a session is retried');
select is(test.order_commands(id), '{expire_checkout_session pending}', 'it waits again') from o;
select is((select a.detail ->> 'order_id' from booking.audit_log a join oc on a.subject = oc.id::text), o.id::text, 'the audit log names the order') from o;
-- refunds: never more than is still to be given
create temp table r (n text, b uuid, q uuid, id uuid);
create function pg_temp.dead_request(p_n text, p_amount bigint) returns void language plpgsql as $$
declare v_b uuid := test.captured_booking(); v_q uuid := test.ask(v_b, p_amount); v_c uuid := test.approve(v_q);
begin
  insert into r values (p_n, v_b, v_q, v_c);
  perform booking.claim_stripe_command(v_c, 'w');
  perform booking.fail_stripe_command(v_c, 'w', '{"type": "api_connection_error"}', false);
end $$;
do $$ begin perform pg_temp.dead_request('fits', 2000), pg_temp.dead_request('by hand', 2000); end $$;
do $$ begin perform test.event('refund.created', test.refund(b, 3000)) from r where n = 'fits'; perform test.event('refund.created', test.refund(b, 3001)) from r where n = 'by hand'; end $$;
select is(test.requests(b), array['approved 2000'], n || ': its outcome is unknown') from r order by n;
select test.refused(format('select booking.retry_stripe_command(%L, %L)', id, 'dba'), 'PT409', 'nothing_due', jsonb_build_object('command_id', id, 'due', 1999),
  'a request for more than is left now') from r where n = 'by hand';
select lives_ok(format('select booking.retry_stripe_command(%L, %L)', id, 'dba'), 'one that fits') from r where n = 'fits';
do $$ begin perform test.run_commands(b) from r where n = 'fits'; end $$;
select is(test.requests(b) || test.state(b), array['refunded 2000', 'confirmed/refunded'], 'is paid, once') from r where n = 'fits';
create temp table d as select test.captured_booking() as b;
do $$ begin perform booking.cancel_booking_transaction(test.student(b), b) from d; end $$;
create temp table dc as select test.open_command(b) as id from d;
do $$ begin perform booking.claim_stripe_command(id, 'w') from dc; perform booking.fail_stripe_command(id, 'w', '{"type": "api_connection_error"}', false) from dc;
  perform test.event('refund.created', test.refund(b, 1)) from d; end $$;
select test.refused(format('select booking.retry_stripe_command(%L, %L)', id, 'dba'), 'PT409', 'nothing_due', jsonb_build_object('command_id', id, 'due', 4999),
  'a policy''s refund of more than is owed now') from dc;
select is((select c.status::text from booking.stripe_commands c where c.id = dc.id), 'dead', 'stays dead') from dc;
-- of a request on top of the policy: what the policy has given, or somebody beyond it, does not stand in its way
create temp table e as select test.captured_booking('10 hours') as b;
do $$ begin perform booking.cancel_booking_transaction(test.student(b), b) from e; perform test.run_commands(b) from e; end $$;
create temp table ec as select test.approve(test.ask(b, 1000)) as id from e;
do $$ begin perform booking.claim_stripe_command(id, 'w') from ec; perform booking.fail_stripe_command(id, 'w', '{"type": "api_connection_error"}', false) from ec;
  perform test.event('refund.created', test.refund(b, 500)) from e; end $$;
select lives_ok(format('select booking.retry_stripe_command(%L, %L)', id, 'dba'), 'a request on top of the policy') from ec;
do $$ begin perform test.run_commands(b) from e; end $$;
select is((test.payment(b)).amount_refunded, 4000::bigint, '2500 by policy, 500 by hand, 1000 asked for') from e;
select is_empty('select * from booking.check_invariants()', 'the books are in order');
select * from finish();
