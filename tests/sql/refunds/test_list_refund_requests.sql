-- booking.list_refund_requests(): everybody's requests for an administrator, newest first, a page at a time.
select plan(12);
create temp table t as select n, test.captured_booking() as b from generate_series(1, 3) n;
create temp table q (n int, k int, id uuid);
do $$ begin
  for v_n in 1 .. 3 loop for v_k in 1 .. 2 loop
    insert into q select v_n, v_k, test.ask(b, 100 * v_k, 'reason ' || v_n) from t where n = v_n;
    perform pg_sleep(0.002); -- ids are ordered by the millisecond
  end loop; end loop;
  perform booking.decide_refund_request('admin', id, case n when 1 then 'approve' else 'reject' end, 'noted') from q where n <= 2 and k = 1;
end $$;
create function pg_temp.page(p_status text default null, p_after uuid default null, p_limit int default 50) returns text language sql as $$
  select string_agg(q.n || '.' || q.k, ' ' order by l.ordinality) from booking.list_refund_requests(p_status, p_after, p_limit) with ordinality l join q on q.id = l.request_id $$;
select is(pg_temp.page(), '3.2 3.1 2.2 2.1 1.2 1.1', 'everybody''s, newest first');
select is(pg_temp.page(p_limit => 2), '3.2 3.1', 'a page');
select is(pg_temp.page(p_after => (select id from q where n = 3 and k = 1), p_limit => 2), '2.2 2.1', 'the next page');
select is(pg_temp.page('pending'), '3.2 3.1 2.2 1.2', 'what waits for a decision');
select is(pg_temp.page('approved') || ' ' || pg_temp.page('rejected'), '1.1 2.1', 'what was decided');
select is(pg_temp.page('refunded'), null, 'nothing is refunded yet');
select results_eq($$ select booking_id, payment_id, student_id, amount, currency, reason, status::text, decided_by, decided_at is not null, note, command_id, beyond_policy, created_at, updated_at
    from booking.list_refund_requests('approved') $$,
  $$ select b, (test.payment(b)).id, test.student(b), 100::bigint, 'usd', 'reason 1', 'approved', 'admin', true, 'noted', test.open_command(b), false, r.created_at, r.updated_at
     from t join q on q.n = t.n and q.k = 1 join booking.refund_requests r on r.id = q.id where t.n = 1 $$, 'each with all that is known of it');
select test.refused($$ select * from booking.list_refund_requests('open') $$, 'PT400', 'invalid_request', '{"field": "status"}', 'no such status');
select test.refused(format('select * from booking.list_refund_requests(p_limit => %s)', l), 'PT400', 'invalid_request', '{"field": "limit"}', 'limit ' || l)
from unnest(array['0', '201', 'null']) l;
set local role booking_dba;
select is((select count(*) from booking.list_refund_requests()), 6::bigint, 'a DBA may look');
select * from finish();
