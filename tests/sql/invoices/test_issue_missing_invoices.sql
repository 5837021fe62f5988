-- booking.issue_missing_invoices(), count_missing_invoices(): whatever is missing, oldest payments first.
select * from no_plan();
select is(booking.issue_missing_invoices(), 0, 'nothing to do');
create temp table t (n int, b uuid);
create function pg_temp.add(n int) returns void language plpgsql as $$
begin
  perform test.set_clock('2026-03-10 12:00Z'::timestamptz + n * interval '1 minute');
  insert into t values (n, test.captured_booking());
end
$$;
do $$ begin
  perform pg_temp.add(n) from generate_series(1, 5) n;
  perform test.authorize(test.book());
  perform test.event('refund.created', test.refund(b, 5000)) from t where n = 2;
  perform test.event('refund.created', test.refund(b, 100)) from t where n = 3;
  perform test.issue(b) from t where n = 4;
end $$;
select is(booking.count_missing_invoices(), 4::bigint, 'four payments were captured and not invoiced');
set enable_mergejoin = off; set enable_nestloop = off; set enable_indexscan = off; set enable_bitmapscan = off; -- no order by chance
select is(booking.issue_missing_invoices(p_limit => 3), 3, 'as many as asked');
reset enable_mergejoin; reset enable_nestloop; reset enable_indexscan; reset enable_bitmapscan;
select is((select array_agg(n order by i.serial) from t join booking.invoices i on i.booking_id = b and i.kind = 'invoice'), '{4,1,2,3}', 'the oldest first');
select is(test.papers(b), '{INV credited v1 5000+0=5000,CN issued v1 5000+0=5000}', 'with its credit note') from t where n = 2;
select is(booking.issue_missing_invoices(), 1, 'the rest');
select is(booking.issue_missing_invoices() || ' ' || booking.count_missing_invoices(), '0 0', 'and then nothing');
-- what only somebody who wrote past the functions can have made
set session_replication_role = replica;
update booking.payments p set amount_refunded = 700, status = 'partially_refunded' from t where p.booking_id = t.b and n in (1, 3);
update booking.payments p set amount_captured = 5001, amount = 5001 from t where p.booking_id = t.b and n = 5;
update booking.payments p set amount_refunded = 0, status = 'captured' from t where p.booking_id = t.b and n = 2;
set session_replication_role = origin;
select is(booking.count_missing_invoices(), 4::bigint, 'credit notes that are missing or too many, and an invoice of less than was captured');
select is(booking.issue_missing_invoices(), 4, 'are made good');
select results_eq('select n, test.papers(b) from t order by 1', $$ values (1, '{INV partially_credited v1 5000+0=5000,CN issued v1 700+0=700}'::text[]),
  (2, '{INV issued v1 5000+0=5000,CN void v2 0+0=0}'), (3, '{INV partially_credited v1 5000+0=5000,CN issued v1 100+0=100,CN issued v1 600+0=600}'),
  (4, '{INV issued v1 5000+0=5000}'), (5, '{INV issued v2 5001+0=5001}') $$, 'each of them');
select is(booking.count_missing_invoices(), 0::bigint, 'nothing is missing');
select test.refused(format('select booking.issue_missing_invoices(%s)', l), 'PT400', 'invalid_request', '{"field": "limit"}', 'not a limit: ' || l) from unnest(array['0', '10001', 'null']) l;
select is_empty($$ select c.* from booking.check_invariants() c where c.invariant like '%invoice%' or c.invariant like 'credit%' $$, 'numbers and versions are whole');
select * from finish();
