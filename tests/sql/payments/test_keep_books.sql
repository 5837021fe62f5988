-- booking.keep_books(): amount_refunded, the refund statuses and the ledger follow the facts at hand.
select plan(26);
create temp table t as select test.captured_booking() as b;
create function pg_temp.b() returns uuid language sql as $$ select b from t $$;
create function pg_temp.books() returns text language sql as $$
  select format('%s %s/%s', p.status, p.amount_refunded, p.amount_captured) from booking.payments p where p.booking_id = pg_temp.b() $$;
create function pg_temp.ledger() returns text language sql as $$
  select string_agg(k.kind || ' ' || k.amount, ', ' order by k.id) from booking.transfers k
  where k.payment_id = (test.payment(pg_temp.b())).id $$;
create function pg_temp.refund(p_amount bigint, p_id text, p_status text) returns text language sql as $$
  select test.event('refund.updated', test.refund(pg_temp.b(), p_amount, p_id, p_status)) $$;
create function pg_temp.charge(p_refunded bigint) returns text language sql as $$
  select test.event('charge.refunded', test.charge(pg_temp.b(), true, p_refunded)) $$;

select is(pg_temp.books(), 'captured 0/5000', 'captured');
select results_eq($$ select kind, debit_account, credit_account, amount, currency::text from booking.transfers $$,
  $$ select 'capture', 'stripe', 'expert:' || test.expert(b), 5000::bigint, 'usd' from t $$, 'what Stripe holds is the expert''s');
select is(pg_temp.refund(1200, 're_1', 'pending'), 'processed', 'a first partial refund');
select is(pg_temp.books(), 'partially_refunded 1200/5000', 'is counted while it is on its way');
select results_eq($$ select kind, debit_account, credit_account, amount from booking.transfers where kind = 'refund' $$,
  $$ select 'refund', 'expert:' || test.expert(b), 'stripe', 1200::bigint from t $$, 'the ledger takes it from the expert');
select is(pg_temp.refund(1200, 're_1', 'succeeded'), 'processed', 'it arrives');
select is(pg_temp.charge(1200), 'processed', 'the charge shows it too');
select is(pg_temp.books(), 'partially_refunded 1200/5000', 'and it counts once');
select is(pg_temp.ledger(), 'capture 5000, refund 1200', 'in the ledger too');
select is(pg_temp.charge(2000), 'processed', 'the charge shows 800 more than the refunds we know');
select is(pg_temp.books(), 'partially_refunded 2000/5000', 'only what the rows do not explain is added');
select is(pg_temp.refund(800, 're_2', 'succeeded'), 'processed', 'the row of these 800 comes late');
select is(pg_temp.books(), 'partially_refunded 2000/5000', 'and explains them');
select is(pg_temp.ledger(), 'capture 5000, refund 1200, refund 800', 'nothing is booked twice');
select is(pg_temp.refund(1200, 're_1', 'failed'), 'processed', 'the first one fails later');
select is(pg_temp.books(), 'partially_refunded 800/5000', 'it is taken back');
select is(pg_temp.ledger(), 'capture 5000, refund 1200, refund 800, refund_reversal 1200', 'the ledger reverses it');
select is((select count(*) from booking.alerts where kind = 'refund_failed' and subject = 're_1'), 1::bigint, 'a person is told');
select is(pg_temp.charge(800), 'processed', 'a lower total of the charge, or an old one');
select is(pg_temp.books(), 'partially_refunded 800/5000', 'changes nothing');
select is(pg_temp.refund(4200, 're_3', 'succeeded'), 'processed', 'the rest goes back');
select is(pg_temp.books(), 'refunded 5000/5000', 'refunded whole');
select is(pg_temp.refund(800, 're_2', 'failed') || ' ' || pg_temp.refund(4200, 're_3', 'failed'), 'processed processed', 'all of it fails');
select is(pg_temp.books(), 'captured 0/5000', 'captured again');
-- before the capture is known, and what contradicts it
update t set b = test.book();
do $$ begin perform test.authorize(pg_temp.b()); perform pg_temp.refund(1000, 're_4', 'succeeded'); end $$;
select is(pg_temp.books() || coalesce(pg_temp.ledger(), ' -'), 'authorized 0/0 -', 'a refund faster than the capture waits for it');
do $$ begin perform test.event('payment_intent.succeeded', test.intent(pg_temp.b(), 'succeeded', 3000));
  perform pg_temp.refund(2500, 're_5', 'succeeded');
  perform test.event('payment_intent.succeeded', test.intent(pg_temp.b(), 'succeeded', 5000)); end $$;
select is(pg_temp.books() || ', ' || pg_temp.ledger(),
  'partially_refunded 3500/5000, capture 3000, refund 1000, refund 2000, capture 2000, refund 500',
  'never more is refunded than was captured, and more captured makes it partial again');
select * from finish();
