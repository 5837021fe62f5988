-- booking.decide_refund_request(): an administrator approves or rejects; approving looks again whether the money is there.
select * from no_plan();
select test.set_clock('2026-03-10 12:00Z');
create temp table t (n text, b uuid, q uuid);
create function pg_temp.start(p_n text, p_amount bigint default null, p_start interval default '7 days') returns void language plpgsql as $$
declare v_b uuid := test.captured_booking(p_start);
begin insert into t values (p_n, v_b, test.ask(v_b, p_amount)); end $$;
create function pg_temp.b(p_n text) returns uuid language sql as $$ select b from t where n = p_n $$;
create function pg_temp.q(p_n text) returns uuid language sql as $$ select q from t where n = p_n $$;
create function pg_temp.decides(p_n text, p_decision text) returns text language sql as $$
  select format('select * from booking.decide_refund_request(%L, %L, %L)', 'admin-2', pg_temp.q(p_n), p_decision) $$;
do $$ begin perform pg_temp.start('yes', 2000), pg_temp.start('no', 2000), pg_temp.start('whole'), pg_temp.start('gone', 2000), pg_temp.start('disputed', 2000),
  pg_temp.start('dead', 2000), pg_temp.start('ended', 2500, '10 hours'), pg_temp.start('bad', 1), pg_temp.start('many', 2000); end $$;

-- -- refused
select test.refused(format('select * from booking.decide_refund_request(%s, %L, %L, %s)', who, pg_temp.q('bad'), 'approve', note), 'PT400', 'invalid_request',
  jsonb_build_object('field', field), field || ': ' || left(who || ' ' || note, 20))
from (values ('null', 'null', 'admin_id'), ('''''', 'null', 'admin_id'), ('''a''', 'repeat(''x'', 1001)', 'note')) v (who, note, field);
select test.refused(format('select * from booking.decide_refund_request(%L, %L, %s)', 'admin', pg_temp.q('bad'), d), 'PT400', 'invalid_decision',
  '{"field": "decision"}', 'no decision: ' || d) from unnest(array['null', '''approved''', '''''']) d;
select test.refused($$ select * from booking.decide_refund_request('admin', '01890000-0000-7000-8000-000000000001', 'approve') $$, 'PT404', 'refund_request_not_found',
  '{"request_id": "01890000-0000-7000-8000-000000000001"}', 'no such request');
select test.refused($$ select * from booking.decide_refund_request('admin', null, 'approve') $$, 'PT404', 'refund_request_not_found', '{"request_id": null}', 'no request at all');
select is(test.requests(pg_temp.b('bad')), array['pending 1'], 'refusals change nothing');

-- -- approved
create temp table d as select * from booking.decide_refund_request(p_admin_id => 'admin', p_request_id => pg_temp.q('yes'), p_decision => 'approve', p_note => 'Sorry');
select results_eq($$ select request_id, status::text, refund_amount, payment_status::text, command_id from d $$,
  $$ select pg_temp.q('yes'), 'approved', 2000::bigint, 'captured', test.open_command(pg_temp.b('yes')) $$, 'approved: its refund is queued in the same commit');
select results_eq($$ select operation, stripe_id, params, refund_request_id from booking.stripe_commands where id = (select command_id from d) $$,
  $$ select 'create_refund', test.intent_id(pg_temp.b('yes')), jsonb_build_object('payment_intent', test.intent_id(pg_temp.b('yes')), 'amount', 2000, 'metadata',
       jsonb_build_object('payment_id', (test.payment(pg_temp.b('yes'))).id, 'command_id', (select command_id from d), 'request_id', pg_temp.q('yes'))), pg_temp.q('yes') $$,
  'with our ids in its metadata');
select results_eq($$ select status::text, decided_by, decided_at, note, command_id, beyond_policy from booking.refund_requests where id = pg_temp.q('yes') $$,
  $$ select 'approved', 'admin', '2026-03-10 12:00Z'::timestamptz, 'Sorry', (select command_id from d), false $$, 'who decided and when is kept');
select is(test.state(pg_temp.b('yes')), 'confirmed/captured', 'the booking lives on');
select results_eq($$ select actor, action, detail - 'payment_id' from booking.audit_log where subject = pg_temp.q('yes')::text order by id $$,
  $$ values (test.student(pg_temp.b('yes')), 'refund_request.created', jsonb_build_object('booking_id', pg_temp.b('yes'), 'amount', 2000, 'currency', 'usd')),
            ('admin', 'refund_request.approved', jsonb_build_object('booking_id', pg_temp.b('yes'), 'amount', 2000, 'currency', 'usd')) $$,
  'the audit trail has both, without their words');
select results_eq(pg_temp.decides('yes', 'approve'), 'select * from d', 'approving again changes nothing');
select is((test.request(pg_temp.q('yes'))).decided_by, 'admin', 'the first who approved has approved');
select is(array_length(test.commands(pg_temp.b('yes')), 1), 2, 'and there is one refund');
select test.refused(pg_temp.decides('yes', 'reject'), 'PT409', 'already_processed', jsonb_build_object('request_id', pg_temp.q('yes'), 'status', 'approved'), 'rejecting what was approved');
do $$ begin perform test.run_commands(pg_temp.b('yes')); end $$;
select results_eq(pg_temp.decides('yes', 'approve'), $$ select pg_temp.q('yes'), 'refunded'::booking.refund_request_status, 2000::bigint,
  'partially_refunded'::booking.payment_status, (select command_id from d) $$, 'approving what is refunded says so');
select test.refused(pg_temp.decides('yes', 'reject'), 'PT409', 'already_processed', '{"status": "refunded"}', 'rejecting what is refunded');

-- -- rejected
create temp table n as select * from booking.decide_refund_request('admin', pg_temp.q('no'), 'reject', 'Terms');
select results_eq('select request_id, status::text, refund_amount, payment_status::text, command_id from n',
  $$ select pg_temp.q('no'), 'rejected', 2000::bigint, 'captured', null::uuid $$, 'rejected: no money moves');
select is(test.commands(pg_temp.b('no')), array['capture_payment_intent done/applied'], 'nothing goes to Stripe');
select results_eq(pg_temp.decides('no', 'reject'), 'select * from n', 'rejecting again changes nothing');
select test.refused(pg_temp.decides('no', 'approve'), 'PT409', 'already_processed', '{"status": "rejected"}', 'approving what was rejected');
select is((select array_agg(action order by id) from booking.audit_log where subject = pg_temp.q('no')::text),
  array['refund_request.created', 'refund_request.rejected'], 'the audit trail has it once');

-- -- the money may have gone meanwhile
do $$ begin perform test.event('refund.created', test.refund(pg_temp.b('gone'), 3001)); end $$;
select test.refused(pg_temp.decides('gone', 'approve'), 'PT409', 'refund_exceeds_captured',
  jsonb_build_object('request_id', pg_temp.q('gone'), 'amount', 2000, 'refundable', 1999, 'currency', 'usd'), 'refunded in the dashboard meanwhile');
select results_eq(pg_temp.decides('gone', 'reject'), $$ select pg_temp.q('gone'), 'rejected'::booking.refund_request_status, 2000::bigint,
  'partially_refunded'::booking.payment_status, null::uuid $$, 'it can be rejected');
do $$ begin perform test.dispute(pg_temp.b('disputed')); end $$;
select test.refused(pg_temp.decides('disputed', 'approve'), 'PT409', 'payment_disputed', jsonb_build_object('request_id', pg_temp.q('disputed')), 'disputed meanwhile');
do $$ begin perform test.dispute(pg_temp.b('disputed'), 'won'); end $$;
select is((select status::text from booking.decide_refund_request('admin', pg_temp.q('disputed'), 'approve')), 'approved', 'won, it can be approved');
do $$ begin perform booking.cancel_booking_transaction(test.student(pg_temp.b('whole')), pg_temp.b('whole')); end $$;
select test.refused(pg_temp.decides('whole', 'approve'), 'PT409', 'refund_exceeds_captured', '{"amount": 5000, "refundable": 0}', 'the policy gives everything back');

-- -- of an ended booking: on top of the policy
do $$ begin perform booking.cancel_booking_transaction(test.student(pg_temp.b('ended')), pg_temp.b('ended')); end $$;
select results_eq(pg_temp.decides('ended', 'approve'), $$ select pg_temp.q('ended'), 'approved'::booking.refund_request_status, 2500::bigint,
  'captured'::booking.payment_status, test.open_command(pg_temp.b('ended')) $$, 'command_id: the policy''s refund, which must be known first');
select is((test.request(pg_temp.q('ended'))).beyond_policy, true, 'it is on top of the policy');
select is(test.run_commands(pg_temp.b('ended')), 2, 'then its own');
select is(test.state(pg_temp.b('ended')), 'cancelled/refunded', '2500 by policy and 2500 by request');

-- -- several: one after the other, oldest first
create temp table m as select 1 as n, pg_temp.q('many') as id union all select 2, test.ask(pg_temp.b('many'), 1000) union all select 3, test.ask(pg_temp.b('many'), 1500);
select test.set_clock('2026-03-10 12:00:01Z');
do $$ begin perform test.approve(id) from m where n = 2; end $$;
select test.set_clock('2026-03-10 12:00:02Z');
create temp table m1 as select test.approve(id) as command from m where n = 1;
select is(command, (select (test.request(id)).command_id from m where n = 2), 'command_id: the one that is under way') from m1;
select test.set_clock('2026-03-10 12:00:03Z');
do $$ begin perform test.approve(id) from m where n = 3; end $$;
select is(test.run_commands(pg_temp.b('many')), 3, 'one command each');
select results_eq($$ select (a.detail ->> 'amount')::int from booking.audit_log a where a.payment_id = (test.payment(pg_temp.b('many'))).id and a.action = 'refund_request.refunded' order by a.id $$,
  $$ values (1000), (2000), (1500) $$, 'in the order in which they were approved');
select is(test.state(pg_temp.b('many')) || test.requests(pg_temp.b('many'))::text, 'confirmed/partially_refunded{"refunded 1000","refunded 1500","refunded 2000"}', 'all are paid');

-- -- the outcome is unknown: a person has the last word
create temp table x as select test.approve(pg_temp.q('dead')) as command;
do $$ begin perform booking.claim_stripe_command(command, 'w') from x; end $$;
do $$ begin perform booking.fail_stripe_command(command, 'w', '{"type": "api_connection_error"}', false) from x; end $$;
select is(test.requests(pg_temp.b('dead')), array['approved 2000'], 'a dead command leaves the request approved: nobody knows');
select is((select command_id from booking.decide_refund_request('admin', pg_temp.q('dead'), 'approve')), command, 'approving again does not send it again') from x;
select is((select status::text from booking.stripe_commands where id = command), 'dead', 'it stays dead') from x;
select is((select status::text from booking.decide_refund_request('admin-2', pg_temp.q('dead'), 'reject', 'Paid by hand')), 'rejected', 'a person has looked: it may be rejected');
select is((select status || ' ' || outcome from booking.stripe_commands where id = command), 'done superseded', 'its command is closed') from x;
select results_eq($$ select resolved_by from booking.alerts where kind = 'command_dead' and subject = (select command::text from x) $$, $$ values ('admin-2') $$, 'its alert resolved');
select is(test.approve(pg_temp.q('dead'), 'reject'), null, 'rejected is rejected');
select is_empty('select * from booking.check_invariants()', 'the books are in order');

-- -- a decision answers the alerts of a request that came back
do $$ begin perform pg_temp.start('back', 2000); perform test.run_command(test.approve(pg_temp.q('back'))); end $$;
do $$ begin perform test.fail_refund((test.request(pg_temp.q('back'))).command_id); end $$;
select is((select count(*) from booking.alerts where kind = 'refund_failed' and resolved_at is null and detail ->> 'request_id' = pg_temp.q('back')::text), 1::bigint, 'its refund failed: an alert');
do $$ begin perform test.approve(pg_temp.q('back')); end $$;
select is((select resolved_by from booking.alerts where kind = 'refund_failed' and detail ->> 'request_id' = pg_temp.q('back')::text), 'admin', 'approving it anew resolves that');
do $$ begin perform test.run_commands(pg_temp.b('back')); end $$;
select is(test.state(pg_temp.b('back')) || test.requests(pg_temp.b('back'))::text, 'confirmed/partially_refunded{"refunded 2000"}', 'and pays it once');
select is((select sum(amount) from booking.refunds f where f.payment_id = (test.payment(pg_temp.b('back'))).id and status = 'succeeded'), 2000::numeric, 'one refund stands');
select is_empty('select * from booking.check_invariants()', 'the books are in order to the end');
select * from finish();
