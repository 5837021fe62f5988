-- booking.count_missing_invoices(): for how many payments something is missing; test_issue_missing_invoices.sql has each kind.
select plan(4);
select is(booking.count_missing_invoices(), 0::bigint, 'nothing');
create temp table t as select test.captured_booking() as b;
select is(booking.count_missing_invoices(), 1::bigint, 'a captured payment');
do $$ begin perform test.issue(b) from t; end $$;
select is(booking.count_missing_invoices(), 0::bigint, 'which then has its invoice');
do $$ begin perform test.event('refund.created', test.refund(b, 100)) from t; end $$;
select is(booking.count_missing_invoices(), 0::bigint, 'and its credit note by itself');
select * from finish();
