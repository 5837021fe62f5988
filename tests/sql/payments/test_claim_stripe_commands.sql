-- booking.claim_stripe_commands(): due commands for a worker, for the time of a lease.
select plan(34);
select test.set_clock('2026-03-10 12:00Z');
create temp table t as select n, test.book() as b from generate_series(1, 5) n;
do $$ begin perform test.authorize(b) from t; end $$;
create temp table c (n int, id uuid);
create function pg_temp.confirm(p_n int) returns void language sql as $$ insert into c select n, test.confirm(b) from t where n = p_n $$;
-- the numbers of what a claim gets
create function pg_temp.claim(p_worker text, p_limit int default 10, p_lease interval default '1 minute', p_min_age interval default '0')
returns int[] language sql volatile as $$
  select coalesce(array_agg(c.n order by c.n), '{}') from booking.claim_stripe_commands(p_worker, p_limit, p_lease, p_min_age) k
  join c on c.id = k.command_id $$;

select is(pg_temp.claim('w'), '{}', 'nothing is due');
do $$ begin perform pg_temp.confirm(1); end $$;
select test.set_clock('2026-03-10 12:00:05Z');
select is(pg_temp.claim('w', p_min_age => '6 seconds'), '{}', 'a fresh command is left to the server that made it');
do $$ begin perform pg_temp.confirm(2); end $$;
select test.set_clock('2026-03-10 12:00:06Z');
grant all on c to booking_app;
select is(pg_temp.claim('w1', p_min_age => '6 seconds'), '{1}', 'until it is old enough');
select is(pg_temp.claim('w2'), '{2}', 'without a minimum age also the fresh; what is running is skipped');
select is(pg_temp.claim('w2'), '{}', 'nothing is given twice');
select results_eq($$ select k.status::text, k.locked_by, k.lease_until, k.attempts from booking.stripe_commands k join c using (id) order by n $$,
  $$ values ('running', 'w1', '2026-03-10 12:01:06Z'::timestamptz, 1), ('running', 'w2', '2026-03-10 12:01:06Z', 1) $$,
  'each claim takes a lease and counts as an attempt');
do $$ begin perform pg_temp.confirm(3); end $$;
select test.set_clock('2026-03-10 12:00:07Z');
do $$ begin perform pg_temp.confirm(4); end $$;
select test.set_clock('2026-03-10 12:00:08Z');
do $$ begin perform pg_temp.confirm(5); end $$;
select is(pg_temp.claim('w3', p_limit => 2), '{3,4}', 'at most so many, the longest due first');
select is(pg_temp.claim('w3', p_limit => 2), '{5}', 'then the rest');
select test.set_clock('2026-03-10 12:01:06Z');
select is(pg_temp.claim('w4'), '{1,2}', 'what a worker did not finish within its lease goes to another one');
select results_eq($$ select k.locked_by, k.attempts from booking.stripe_commands k join c using (id) where n = 1 $$, $$ values ('w4', 2) $$,
  'as the next attempt');
select is(booking.complete_stripe_command(id, 'w1', test.answer(id)), false, 'the first worker has lost it') from c where n = 1;
do $$ begin perform booking.complete_stripe_command(id, 'w4', test.answer(id)) from c where n in (1, 2);
  perform booking.complete_stripe_command(id, 'w3', test.answer(id)) from c where n in (4, 5); end $$;
do $$ begin perform booking.fail_stripe_command(id, 'w3', '{}', true, '2 minutes') from c where n = 3; end $$;
select test.set_clock('2026-03-10 12:03:05Z');
select is(pg_temp.claim('w5'), '{}', 'a command that waits for its next attempt is not due');
select test.set_clock('2026-03-10 12:03:06Z');
select is(pg_temp.claim('w5', p_lease => '10 minutes'), '{3}', 'until its time has come');
-- the last attempt
update booking.settings set command_max_attempts = 3;
select test.set_clock('2026-03-10 12:13:06Z');
select is(pg_temp.claim('w6'), '{3}', 'the third and last attempt');
select test.set_clock('2026-03-10 12:14:05Z');
select is(pg_temp.claim('w7'), '{}', 'runs as long as its lease');
select is((select k.status::text from booking.stripe_commands k join c using (id) where n = 3), 'running', 'and is not dead before');
select test.set_clock('2026-03-10 12:14:06Z');
select is(pg_temp.claim('w7'), '{}', 'workers die on it again and again: nobody gets it any more');
select results_eq($$ select k.status::text, k.outcome, k.locked_by, k.lease_until from booking.stripe_commands k join c using (id) where n = 3 $$,
  $$ values ('dead', null::booking.command_outcome, null::text, null::timestamptz) $$, 'it is dead');
select results_eq($$ select a.kind, a.subject, a.detail ->> 'operation', a.detail ->> 'code', a.times from booking.alerts a $$,
  $$ select 'command_dead', id::text, 'capture_payment_intent', 'lease_lapsed', 1 from c where n = 3 $$, 'and a person is told');
select is(test.state(b), 'confirmed/authorized', 'nobody''s booking is touched by that') from t where n = 3;
do $$ begin perform pg_temp.claim('w8'); end $$;
select is((select times from booking.alerts), 1, 'once');
-- what waited for a command that is dead goes on
select test.set_clock('2026-03-11 12:00Z');
create function pg_temp.die(p_command uuid) returns void language plpgsql as $$
begin
  update booking.stripe_commands k set status = 'running', attempts = 3, locked_by = 'w', lease_until = booking.clock()
  where k.id = p_command;
  perform booking.claim_stripe_commands('w9', p_min_age => '1 day'); -- nothing else is claimed
end $$;
create temp table d as select test.captured_booking('7 days') as refunded, test.book() as cancelled, test.book() as captured;
do $$ declare v_request uuid; begin
  for i in 1 .. 2 loop
    select booking.request_refund(test.student(refunded), refunded, 1000 * i) into v_request from d;
    perform booking.decide_refund_request('admin', v_request, 'approve');
  end loop;
  perform pg_temp.die(test.open_command(refunded)) from d;
end $$;
select is(array(select q.status || ' ' || coalesce(k.status::text, '-') from booking.refund_requests q
                left join booking.stripe_commands k on k.id = q.command_id order by q.amount), '{approved dead,approved pending}',
  'the next refund that was approved is sent when the one before it is dead');
do $$ begin perform test.authorize(cancelled) from d; perform test.confirm(cancelled) from d;
  update booking.stripe_commands k set attempts = 1 from d where k.id = test.open_command(cancelled);
  perform booking.cancel_booking_transaction(test.student(cancelled), cancelled) from d; end $$;
select is(test.commands(cancelled), '{capture_payment_intent pending}', 'a release waits for a capture that was sent') from d;
do $$ begin perform pg_temp.die(test.open_command(cancelled)) from d; end $$;
select is(test.commands(cancelled), '{capture_payment_intent dead,cancel_payment_intent pending}', 'and is queued when that is dead') from d;
do $$ begin perform test.authorize(captured) from d; perform test.confirm(captured) from d;
  update booking.stripe_commands k set attempts = 1 from d where k.id = test.open_command(captured);
  perform test.event('charge.captured', test.charge(captured, true)) from d;
  perform pg_temp.die(test.open_command(captured)) from d; end $$;
select is(test.state(captured) || ' ' || test.commands(captured)::text, 'confirmed/captured {"capture_payment_intent done/superseded"}',
  'one whose wish has come true meanwhile is not dead') from d;
select results_eq($$ select a.detail ->> 'operation' from booking.alerts a where a.first_at = booking.clock() order by 1 $$,
  $$ values ('capture_payment_intent'), ('create_refund') $$, 'and nobody is told of it');
select is((select count(*)::int from booking.stripe_commands k where k.locked_by = 'w9'), 0, 'nothing dead is claimed');
select is_empty($$ select * from booking.check_invariants() $$, 'all is as it must be');
grant usage on schema test to booking_app;
set local role booking_app;
select test.refused($$ select booking.claim_stripe_commands(null) $$, 'PT400', 'invalid_request', '{"field": "worker"}', 'no worker');
select test.refused($$ select booking.claim_stripe_commands('w', p_lease => '-1 s') $$, 'PT400', 'invalid_request', '{"field": "lease"}', 'a negative lease');
select test.refused($$ select booking.claim_stripe_commands('w', 0) $$, 'PT400', 'invalid_request', '{"field": "limit"}', 'a limit of nothing');
select test.refused($$ select booking.claim_stripe_commands('w', 1001) $$, 'PT400', 'invalid_request', '{"field": "limit"}', 'too many at once');
select test.refused($$ select booking.claim_stripe_commands('w', null) $$, 'PT400', 'invalid_request', '{"field": "limit"}', 'no limit');
select test.refused($$ select booking.claim_stripe_commands('w', p_min_age => '-1 s') $$, 'PT400', 'invalid_request', '{"field": "min_age"}', 'a negative age');
reset role;
select * from finish();
