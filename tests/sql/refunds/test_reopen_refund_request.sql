-- booking.reopen_refund_request(): an approved or refunded request is pending again, and a person is told.
select plan(10);
create temp table t as select n, test.captured_booking() as b from generate_series(1, 4) n;
create temp table q as select n, test.ask(b, 100, 'words') as id from t;
create function pg_temp.q(p_n int) returns uuid language sql as $$ select id from q where n = p_n $$;
do $$ begin
  perform booking.decide_refund_request('admin', id, case n when 3 then 'reject' else 'approve' end, 'a note') from q where n <= 3;
  perform test.run_commands(b) from t where n = 2;
end $$;
do $$ begin perform booking.reopen_refund_request(id, 'refused') from q; end $$;
select results_eq('select (test.request(id)).status::text, (test.request(id)).command_id from q order by n',
  $$ values ('pending', null::uuid), ('pending', null), ('rejected', null), ('pending', null) $$, 'approved and refunded ones are pending; a rejected one stays so');
select results_eq('select (r).decided_by, (r).decided_at is null, (r).note, (r).reason from (select n, test.request(id) as r from q) x order by n',
  $$ values (null, true, null, 'words'), (null, true, null, 'words'), ('admin', false, 'a note', 'words'), (null, true, null, 'words') $$,
  'no decision is left on what waits for one; the student''s words are');
select results_eq($$ select subject, actor from booking.audit_log where action = 'refund_request.approved' order by 1 $$,
  $$ select id::text, 'admin' from q where n <= 2 order by 1 $$, 'the audit trail keeps who had approved');
select results_eq($$ select subject, detail from booking.alerts where kind = 'refund_request_returned' order by 1 $$,
  $$ select q.id::text, jsonb_build_object('payment_id', (test.payment(b)).id, 'booking_id', b, 'amount', 100, 'cause', 'refused') from q join t using (n) where n <= 2 order by 1 $$,
  'a person is told of each, without the student''s words');
select results_eq($$ select subject, actor, detail ->> 'cause' from booking.audit_log where action = 'refund_request.returned' order by 1 $$,
  $$ select id::text, 'stripe', 'refused' from q where n <= 2 order by 1 $$, 'the audit trail has it');
do $$ begin perform booking.reopen_refund_request(id, 'refused') from q; end $$;
select is((select count(*) from booking.audit_log where action = 'refund_request.returned'), 2::bigint, 'again it changes nothing');
do $$ begin perform test.approve(id) from q where n = 1; end $$;
select isnt((select resolved_at from booking.alerts where kind = 'refund_request_returned' and subject = pg_temp.q(1)::text), null, 'a new decision resolves the alert');
do $$ begin perform booking.reopen_refund_request(pg_temp.q(1), 'refund_failed'); end $$;
select is((select count(*) from booking.alerts where kind = 'refund_request_returned' and resolved_at is null), 1::bigint, 'a refund that failed has an alert of its own');
do $$ begin perform test.approve(id) from q where n = 1; end $$;
do $$ begin perform booking.reopen_refund_request(pg_temp.q(1), 'exceeds_captured'); end $$;
select is((select actor from booking.audit_log where action = 'refund_request.returned' order by id desc limit 1), 'system', 'what our own books find is our own word');
select is(booking.reopen_refund_request('01890000-0000-7000-8000-000000000001', 'refused')::text, '', 'no such request: nothing');
select * from finish();
