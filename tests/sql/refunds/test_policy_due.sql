-- booking.policy_due(): what the policy of a booking that has ended still owes.
select * from no_plan();
create temp table t (n text, b uuid);
create function pg_temp.b(p_n text) returns uuid language sql as $$ select b from t where n = p_n $$;
create function pg_temp.due(p_n text) returns bigint language sql as $$ select booking.policy_due((test.payment(pg_temp.b(p_n))).id) $$;
create function pg_temp.cancel(p_n text, p_who text default 'student') returns void language sql as $$
  select booking.cancel_booking_transaction(case p_who when 'student' then test.student(pg_temp.b(p_n)) else test.expert(pg_temp.b(p_n)) end, pg_temp.b(p_n)) $$;
insert into t values ('half', test.captured_booking('10 hours')), ('late', test.captured_booking('1 hour')), ('whole', test.captured_booking()),
  ('asked', test.captured_booking('10 hours')), ('failed', test.captured_booking('10 hours')), ('yen', test.captured_booking('10 hours', 1001, 'jpy'));
select is(booking.policy_due('01890000-0000-7000-8000-000000000001'), null, 'no payment');
select is(pg_temp.due('half'), null, 'a live booking owes nothing by policy');
do $$ begin perform pg_temp.cancel(n) from t where n in ('half', 'late', 'yen'); perform test.run_commands(b) from t where n <> 'asked'; end $$;
select is(pg_temp.due('half'), 0::bigint, 'what was given back is owed no more');
select is(pg_temp.due('late'), 0::bigint, 'too late: nothing is owed');
select is(pg_temp.due('yen'), 0::bigint, 'half of 1001 yen is 501');
select is((test.payment(pg_temp.b('yen'))).amount_refunded, 501::bigint, 'rounded up');

-- a request that was approved while the booking lived counts towards the policy
create temp table q as select test.ask(pg_temp.b('asked'), 2000) as id;
do $$ begin perform test.approve(id) from q; perform pg_temp.cancel('asked'); end $$;
select is(pg_temp.due('asked'), 500::bigint, '50 % of 5000, less the 2000 that were approved before');
do $$ begin perform test.run_command((test.request(id)).command_id) from q; end $$;
select is(test.commands(pg_temp.b('asked')), array['capture_payment_intent done/applied', 'create_refund done/applied', 'create_refund pending'], 'the rest is queued after it');
select is(pg_temp.due('asked'), 0::bigint, 'and then owed no more');
do $$ begin perform test.run_commands(pg_temp.b('asked')); end $$;
-- one that was approved afterwards is on top of it
create temp table q2 as select test.ask(pg_temp.b('asked'), 1500) as id;
do $$ begin perform test.approve(id) from q2; end $$;
select is(pg_temp.due('asked'), 0::bigint, 'a request approved afterwards does not pay the policy''s debt');
select is((test.request(id)).beyond_policy, true, 'it is on top') from q2;
do $$ begin perform test.run_commands(pg_temp.b('asked')); end $$;
select is(pg_temp.due('asked'), 0::bigint, 'nor when it is paid');
select is((test.payment(pg_temp.b('asked'))).amount_refunded, 4000::bigint, '2000 + 500 + 1500');

-- a refund that failed counts, until it is approved anew, and then counts once
create temp table q3 as select test.ask(pg_temp.b('failed'), 2000) as id;
do $$ begin perform test.approve(id) from q3; perform test.run_commands(pg_temp.b('failed')); perform pg_temp.cancel('failed'); perform test.run_commands(pg_temp.b('failed')); end $$;
do $$ begin perform test.fail_refund((test.request(id)).command_id) from q3; end $$;
select is(pg_temp.due('failed'), 0::bigint, 'what failed is decided by a person: the policy does not send it');
select is((test.payment(pg_temp.b('failed'))).amount_refunded, 500::bigint, 'the policy''s 500 are there');
do $$ begin perform test.approve(id) from q3; perform test.run_commands(pg_temp.b('failed')); end $$;
select is((test.request(id)).beyond_policy, false, 'sent anew it still counts towards the policy') from q3;
select is(pg_temp.due('failed') || ' ' || (test.payment(pg_temp.b('failed'))).amount_refunded, '0 2500', 'and once: 2500 in all');
do $$ begin perform test.fail_refund((test.request(id)).command_id) from q3; end $$;
select is(pg_temp.due('failed'), 0::bigint, 'failed twice, it counts once');
select is(booking.refunds_counted((test.payment(pg_temp.b('failed'))).id), 2500::bigint, '500 + 2000 that failed');
select is_empty('select * from booking.check_invariants()', 'the books are in order');
select * from finish();
