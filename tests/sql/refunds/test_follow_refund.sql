-- booking.follow_refund(): a request follows the refund that was made for it, in any order of events.
select * from no_plan();
create temp table t (n text, b uuid, q uuid, c uuid);
create function pg_temp.start(p_n text) returns void language plpgsql as $$
declare v_b uuid := test.captured_booking(); v_q uuid := test.ask(v_b, 2000);
begin insert into t values (p_n, v_b, v_q, test.approve(v_q)); end $$;
create function pg_temp.hear(p_n text, p_status text, p_type text default 'refund.updated') returns void language sql as $$
  select test.event(p_type, test.refund(b, 2000, 're_' || p_n, p_status, c)) from t where n = p_n $$;
create function pg_temp.said(p_n text) returns text language sql as $$
  select test.state(b) || ' ' || (test.request(q)).status || case when (test.request(q)).command_id = c then ' its' when (test.request(q)).command_id is null then ' no' else ' another' end
    || ' command' from t where n = p_n $$;
select is(booking.follow_refund('re_unknown')::text, '', 'no such refund');

do $$ begin perform pg_temp.start('order'); perform booking.claim_stripe_command(c, 'w') from t where n = 'order'; end $$;
do $$ begin perform booking.complete_stripe_command(c, 'w', test.refund(b, 2000, 're_order', 'pending', c)) from t where n = 'order'; end $$;
select is(pg_temp.said('order'), 'confirmed/partially_refunded approved its command', 'on its way: still approved');
do $$ begin perform pg_temp.hear('order', 'requires_action'); end $$;
select is(pg_temp.said('order'), 'confirmed/partially_refunded approved its command', 'it requires action: still approved');
do $$ begin perform pg_temp.hear('order', 'succeeded'); end $$;
select is(pg_temp.said('order'), 'confirmed/partially_refunded refunded its command', 'succeeded: refunded');
do $$ begin perform pg_temp.hear('order', 'pending', 'refund.created'); perform pg_temp.hear('order', 'succeeded'); end $$;
select is(pg_temp.said('order'), 'confirmed/partially_refunded refunded its command', 'older and repeated news change nothing');
select is((select count(*) from booking.audit_log a, t where a.subject = t.q::text and a.action = 'refund_request.refunded'), 1::bigint, 'the audit trail has it once');
select results_eq($$ select actor, detail ->> 'stripe_refund_id' from booking.audit_log where action = 'refund_request.refunded' $$, $$ values ('stripe', 're_order') $$, 'as Stripe''s word');
do $$ begin perform pg_temp.hear('order', 'failed', 'refund.failed'); end $$;
select is(pg_temp.said('order'), 'confirmed/captured pending no command', 'failed later: pending again');
select results_eq($$ select detail from booking.alerts where kind = 'refund_failed' $$,
  $$ select jsonb_build_object('payment_id', (test.payment(b)).id, 'amount', 2000, 'reason', null, 'request_id', q) from t $$, 'the alert names the request');
do $$ begin perform pg_temp.hear('order', 'succeeded'); end $$;
select is(pg_temp.said('order'), 'confirmed/captured pending no command', 'what failed has failed');

do $$ begin perform pg_temp.start('event first'); perform booking.claim_stripe_command(c, 'w') from t where n = 'event first'; perform pg_temp.hear('event first', 'succeeded'); end $$;
select is(pg_temp.said('event first'), 'confirmed/partially_refunded refunded its command', 'the webhook was faster than the answer');
do $$ begin perform booking.complete_stripe_command(c, 'w', test.refund(b, 2000, 're_event first', 'pending', c)) from t where n = 'event first'; end $$;
select is(pg_temp.said('event first'), 'confirmed/partially_refunded refunded its command', 'the answer takes nothing back');

do $$ begin perform pg_temp.start('failed first'); perform booking.claim_stripe_command(c, 'w') from t where n = 'failed first'; perform pg_temp.hear('failed first', 'failed', 'refund.failed'); end $$;
select is(pg_temp.said('failed first'), 'confirmed/captured pending no command', 'it failed before anybody heard that it was created');
do $$ begin perform pg_temp.hear('failed first', 'pending', 'refund.created'); end $$;
select is(pg_temp.said('failed first'), 'confirmed/captured pending no command', 'that it was created is old news');
-- approved anew while the first answer is still missing
do $$ begin perform test.approve(q) from t where n = 'failed first'; end $$;
select is(pg_temp.said('failed first'), 'confirmed/captured approved no command', 'the first command must be known before the second is sent');
do $$ begin perform booking.complete_stripe_command(c, 'w', test.refund(b, 2000, 're_failed first', 'pending', c)) from t where n = 'failed first'; end $$;
select is(pg_temp.said('failed first'), 'confirmed/captured approved another command', 'then it is');
do $$ begin perform pg_temp.hear('failed first', 'failed', 'refund.failed'); end $$;
select is(pg_temp.said('failed first'), 'confirmed/captured approved another command', 'the old failure is not the new one''s');
do $$ begin perform test.run_commands(b) from t where n = 'failed first'; end $$;
select is(pg_temp.said('failed first'), 'confirmed/partially_refunded refunded another command', 'the second one pays');

do $$ begin perform pg_temp.start('canceled'); perform test.run_command(c) from t where n = 'canceled'; end $$;
do $$ begin perform test.event('refund.updated', test.refund(b, 2000, f.stripe_refund_id, 'canceled', c)) from t join booking.refunds f on f.command_id = t.c where n = 'canceled'; end $$;
select is(pg_temp.said('canceled'), 'confirmed/captured pending no command', 'canceled counts as failed');

-- a refund that a restored database never sent, as it believes
do $$ begin perform pg_temp.start('restored'); perform pg_temp.hear('restored', 'pending', 'refund.created'); end $$;
select is(pg_temp.said('restored') || ' ' || (test.commands(b))[2], 'confirmed/partially_refunded approved its command create_refund done/superseded',
  'its refund is there although it was never sent: it is not sent') from t where n = 'restored';
do $$ begin perform pg_temp.hear('restored', 'succeeded'); end $$;
select is(pg_temp.said('restored'), 'confirmed/partially_refunded refunded its command', 'and the request follows it');

-- given up by a person, and yet it was made
do $$ begin perform pg_temp.start('given up'); perform booking.claim_stripe_command(c, 'w') from t where n = 'given up'; end $$;
do $$ begin perform booking.fail_stripe_command(c, 'w', '{"type": "x"}', false) from t where n = 'given up'; perform test.approve(q, 'reject') from t where n = 'given up'; end $$;
do $$ begin perform pg_temp.hear('given up', 'succeeded'); end $$;
select is(pg_temp.said('given up'), 'confirmed/partially_refunded rejected no command', 'a request that was rejected stays so; the money is in the books');
select results_eq($$ select subject, detail from booking.alerts where kind = 'refund_unexpected' $$,
  $$ select 're_given up', jsonb_build_object('payment_id', (test.payment(b)).id, 'request_id', q, 'status', 'rejected', 'amount', 2000) from t where n = 'given up' $$, 'a person is told');
-- refused for good, approved anew: what is heard of the first command is not the second one's
do $$ begin perform pg_temp.start('refused'); perform booking.claim_stripe_command(c, 'w') from t where n = 'refused'; end $$;
do $$ begin perform booking.fail_stripe_command(c, 'w', '{"code": "x", "http_status": 400}', false) from t where n = 'refused'; perform test.approve(q) from t where n = 'refused'; end $$;
do $$ begin perform pg_temp.hear('refused', 'failed', 'refund.failed'); end $$;
select is(pg_temp.said('refused'), 'confirmed/captured approved another command', 'a failure of the first leaves the second alone');
do $$ begin perform test.run_commands(b) from t where n = 'refused'; end $$;
select is(pg_temp.said('refused'), 'confirmed/partially_refunded refunded another command', 'which pays');
-- a second refund of one command
do $$ begin perform test.event('refund.updated', test.refund(b, 2000, 're_twice', 'succeeded', (test.request(q)).command_id)) from t where n = 'refused'; end $$;
select results_eq($$ select detail ->> 'status' from booking.alerts where kind = 'refund_unexpected' and subject = 're_twice' $$, $$ values ('refunded') $$,
  'a second refund of the same command is told to a person');
select is((test.payment(b)).amount_refunded, 4000::bigint, 'and is in the books') from t where n = 'refused';
select is((select count(*) from booking.audit_log a where a.subject = t.q::text and a.action = 'refund_request.refunded'), 1::bigint, 'the request was refunded once') from t where n = 'refused';
-- somebody's refund in the dashboard
do $$ begin perform pg_temp.start('by hand'); perform test.event('refund.created', test.refund(b, 2000, 're_hand')) from t where n = 'by hand'; end $$;
select is(pg_temp.said('by hand'), 'confirmed/partially_refunded approved its command', 'a refund without our command is no request''s');
select is_empty('select * from booking.check_invariants()', 'the books are in order');
select * from finish();
