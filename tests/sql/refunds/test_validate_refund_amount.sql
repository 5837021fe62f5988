-- booking.validate_refund_amount(): whether so much may be asked for now.
select * from no_plan();
create temp table t (n text, b uuid);
insert into t values ('usd', test.captured_booking()), ('kwd', test.captured_booking(p_amount => 5000, p_currency => 'kwd')), ('held', test.book());
create function pg_temp.may(p_n text, p_amount bigint) returns boolean language sql as $$
  select booking.validate_refund_amount((test.payment(b)).id, p_amount) from t where n = p_n $$;
do $$ begin perform test.authorize(b) from t where n = 'held'; end $$;
select is(pg_temp.may('usd', a), a between 1 and 5000, format('%s of 5000', a)) from unnest(array[-1, 0, 1, 4999, 5000, 5001, 9223372036854775807]) a;
select is(pg_temp.may('kwd', a), a % 10 = 0, format('%s in steps of 10', a)) from unnest(array[10, 15, 4990, 4995]) a;
select is(pg_temp.may('usd', null), false, 'no amount');
select is(pg_temp.may('held', 1), false, 'nothing was captured');
select is(booking.validate_refund_amount(id, 1), false, 'no payment') from unnest(array[null, '01890000-0000-7000-8000-000000000001']::uuid[]) id;
do $$ begin perform test.ask(b, 3000) from t where n = 'usd'; end $$;
select is(pg_temp.may('usd', a), a <= 2000, format('%s beside a pending request of 3000', a)) from unnest(array[2000, 2001]) a;
do $$ begin perform test.event('refund.created', test.refund(b, 1500, 're_v')) from t where n = 'usd'; end $$;
select is(pg_temp.may('usd', a), a <= 500, format('%s beside that and a refund of 1500', a)) from unnest(array[500, 501]) a;
do $$ begin perform test.dispute(b) from t where n = 'usd'; end $$;
select is(pg_temp.may('usd', 1), false, 'never while a dispute is open');
do $$ begin perform test.dispute(b, 'won') from t where n = 'usd'; end $$;
select is(pg_temp.may('usd', 500), true, 'won, it may');
create temp table before as select (select count(*) from booking.refund_requests) as n;
set local role booking_dba;
select is(booking.validate_refund_amount('01890000-0000-7000-8000-000000000001', 1), false, 'a DBA may ask');
set local role booking_app;
select is(booking.validate_refund_amount(p_payment_id => '01890000-0000-7000-8000-000000000001', p_amount => 1), false, 'a server, too');
reset role;
select is((select count(*) from booking.refund_requests), n, 'asking changes nothing') from before;
select * from finish();
