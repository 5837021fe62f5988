-- booking.list_own_refund_requests(): a student's own requests, newest first, a page at a time, and nobody else's.
select plan(11);
create temp table t as select n, test.captured_booking() as b from generate_series(1, 2) n;
create temp table q (n int, k int, id uuid);
do $$ begin
  for v_k in 1 .. 3 loop
    insert into q select n, v_k, test.ask(b, 100 * v_k, 'reason') from t;
    perform pg_sleep(0.002); -- ids are ordered by the millisecond
  end loop;
  perform booking.decide_refund_request('admin', id, 'reject', 'because') from q where k = 1;
end $$;
create function pg_temp.page(p_n int, p_status text default null, p_after uuid default null, p_limit int default 50) returns text language sql as $$
  select string_agg(q.n || '.' || q.k, ' ' order by l.ordinality) from booking.list_own_refund_requests((select test.student(b) from t where n = p_n), p_status, p_after, p_limit) with ordinality l
  join q on q.id = l.request_id $$;
select is(pg_temp.page(1), '1.3 1.2 1.1', 'his own, newest first');
select is(pg_temp.page(1, p_limit => 2), '1.3 1.2', 'a page');
select is(pg_temp.page(1, p_after => (select id from q where n = 1 and k = 2)), '1.1', 'the next page');
select is(pg_temp.page(2, 'rejected'), '2.1', 'by status');
select is((select count(*) from booking.list_own_refund_requests('somebody')), 0::bigint, 'nobody else''s');
select results_eq($$ select booking_id, amount, currency, reason, status::text, decided_at is not null, note from booking.list_own_refund_requests((select test.student(b) from t where n = 1), 'rejected') $$,
  $$ select b, 100::bigint, 'usd', 'reason', 'rejected', true, 'because' from t where n = 1 $$, 'what was asked and what was answered');
select test.refused($$ select * from booking.list_own_refund_requests(null) $$, 'PT400', 'invalid_request', '{"field": "student_id"}', 'nobody asks');
select test.refused($$ select * from booking.list_own_refund_requests('x', 'open') $$, 'PT400', 'invalid_request', '{"field": "status"}', 'no such status');
select test.refused(format('select * from booking.list_own_refund_requests(%L, p_limit => %s)', 'x', l), 'PT400', 'invalid_request', '{"field": "limit"}', 'limit ' || l)
from unnest(array['0', '201', 'null']) l;
select * from finish();
