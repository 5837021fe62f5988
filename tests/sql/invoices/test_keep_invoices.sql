-- booking.keep_invoices(): credit notes follow the refunds, the invoice follows the capture, in the same commit.
select * from no_plan();
update booking.settings set tax_rate = 1900;
create temp table t as select test.captured_booking() as b;
create function pg_temp.b() returns uuid language sql as $$ select b from t $$;
create function pg_temp.refund(p_id text, p_amount bigint, p_status text default 'succeeded') returns text[] language plpgsql as $$
begin
  perform test.event(case p_status when 'failed' then 'refund.failed' else 'refund.updated' end, test.refund(pg_temp.b(), p_amount, p_id, p_status));
  return test.papers(pg_temp.b());
end
$$;
create function pg_temp.again(p_issue boolean default true) returns void language plpgsql as $$
begin
  update t set b = test.captured_booking();
  if p_issue then perform test.issue(pg_temp.b()); end if;
end
$$;
select is(pg_temp.refund('re_0', 100), '{}', 'without an invoice there is nothing to keep');
select is(pg_temp.refund('re_0', 100, 'failed'), '{}', 'nor to take back');
do $$ begin perform test.issue(b) from t; end $$;
select is(test.papers(pg_temp.b()), '{INV issued v1 4202+798=5000}', 'a refund that failed before is no refund');
select is(pg_temp.refund('re_1', 1200, 'pending'), '{INV partially_credited v1 4202+798=5000,CN issued v1 1008+192=1200}', 'a refund makes a credit note, from when it is on its way');
select is(pg_temp.refund('re_1', 1200), '{INV partially_credited v1 4202+798=5000,CN issued v1 1008+192=1200}', 'once');
select is(pg_temp.refund('re_2', 1), '{INV partially_credited v1 4202+798=5000,CN issued v1 1008+192=1200,CN issued v1 1+0=1}', 'another refund, another note');
select is(pg_temp.refund('re_3', 1299), '{INV partially_credited v1 4202+798=5000,CN issued v1 1008+192=1200,CN issued v1 1+0=1,CN issued v1 1092+207=1299}',
  'the tax is that of all notes together (399 of 2500)');
select is(pg_temp.refund('re_4', 2500),
  '{INV credited v1 4202+798=5000,CN issued v1 1008+192=1200,CN issued v1 1+0=1,CN issued v1 1092+207=1299,CN issued v1 2101+399=2500}',
  'credited whole: net and tax add up to the invoice''s, 192 + 0 + 207 + 399 = 798');
select is_empty('select * from booking.check_invariants()', 'the books are in order');
select is(pg_temp.refund('re_1', 1200, 'failed'),
  '{INV partially_credited v1 4202+798=5000,CN void v2 0+0=0,CN issued v1 1+0=1,CN issued v1 1092+207=1299,CN issued v1 2101+399=2500}',
  'a refund that fails makes the note of just that amount void');
select is((select array_agg(v.version || ' ' || v.gross || ' ' || v.reason order by v.version) from booking.invoice_versions v join booking.invoices i on i.id = v.invoice_id
           where i.number like 'CN-%-000001'), '{1 1200 issued,2 0 refund_failed}', 'the old version stays');
select is(pg_temp.refund('re_5', 1200),
  '{INV credited v1 4202+798=5000,CN void v2 0+0=0,CN issued v1 1+0=1,CN issued v1 1092+207=1299,CN issued v1 2101+399=2500,CN issued v1 1008+192=1200}',
  'a new refund makes a new note');
-- a part of a note: what the charge showed as one was two refunds, of which one fails
do $$ begin perform pg_temp.again(); perform test.event('charge.refunded', test.charge(pg_temp.b(), true, 3000)); end $$;
select is(test.papers(pg_temp.b()), '{INV partially_credited v1 4202+798=5000,CN issued v1 2521+479=3000}', 'one note of what the charge shows');
select is(pg_temp.refund('re_a', 1000), '{INV partially_credited v1 4202+798=5000,CN issued v1 2521+479=3000}', 'which the refunds explain later');
select is(pg_temp.refund('re_b', 2000), '{INV partially_credited v1 4202+798=5000,CN issued v1 2521+479=3000}', 'both of them');
select is(pg_temp.refund('re_a', 1000, 'failed'), '{INV partially_credited v1 4202+798=5000,CN issued v2 1681+319=2000}', 'one fails: a new version with less');
select is(pg_temp.refund('re_c', 500), '{INV partially_credited v1 4202+798=5000,CN issued v2 1681+319=2000,CN issued v1 420+80=500}', 'another refund');
select is(pg_temp.refund('re_b', 2000, 'failed'), '{INV partially_credited v1 4202+798=5000,CN void v3 0+0=0,CN issued v1 420+80=500}', 'the first note is the one of 2000, though not the newest');
select is(pg_temp.refund('re_c', 500, 'failed'), '{INV issued v1 4202+798=5000,CN void v3 0+0=0,CN void v2 0+0=0}', 'nothing was given back: the invoice is as issued');
select is_empty('select * from booking.check_invariants()', 'the books are in order again');
-- more than one note at once
do $$ begin perform pg_temp.again(); perform pg_temp.refund('re_x', 300); perform pg_temp.refund('re_y', 400);
  perform test.event('charge.refunded', test.charge(pg_temp.b(), true, 900)); end $$;
set session_replication_role = replica;
update booking.payments set amount_refunded = 250, status = 'partially_refunded' where booking_id = pg_temp.b();
set session_replication_role = origin;
do $$ begin perform booking.keep_invoices((test.payment(pg_temp.b())).id); end $$;
select is(test.papers(pg_temp.b()), '{INV partially_credited v1 4202+798=5000,CN issued v2 210+40=250,CN void v2 0+0=0,CN void v2 0+0=0}', 'the newest ones first');
set session_replication_role = replica;
update booking.payments set amount_refunded = 900 where booking_id = pg_temp.b();
set session_replication_role = origin;
do $$ begin perform booking.keep_invoices((test.payment(pg_temp.b())).id); end $$;
-- captured more than was invoiced
do $$ begin update t set b = test.book();
  perform test.prepare(pg_temp.b()); perform test.event('payment_intent.succeeded', test.intent(pg_temp.b(), 'succeeded', 3000));
  perform test.issue(pg_temp.b()); perform test.event('payment_intent.succeeded', test.intent(pg_temp.b(), 'succeeded', 5000)); end $$;
select is(test.papers(pg_temp.b()), '{INV issued v2 4202+798=5000}', 'more captured: a new version');
select is(reason, 'captured_more', 'and why') from booking.invoice_versions v where v.invoice_id = (test.invoice(pg_temp.b())).id and v.version = 2;
-- the rate of the invoice, and what it says of the buyer now
do $$ begin perform booking.correct_invoice('ann', (test.invoice(pg_temp.b())).id, '{"name": "Zoë"}', 'a typo'); end $$;
update booking.settings set tax_rate = 700, tax_name = 'other', seller_name = 'other';
select is(pg_temp.refund('re_k', 5000), '{INV credited v3 4202+798=5000,CN issued v1 4202+798=5000}', 'a credit note has the invoice''s rate, whatever the settings say now');
select is(format('%s %s %s', n.buyer ->> 'name', n.tax_name, n.seller = i.seller), 'Zoë VAT t', 'and its newest buyer')
from booking.invoice_versions n join booking.invoices x on x.id = n.invoice_id and x.kind = 'credit_note'
join booking.invoice_versions i on i.invoice_id = x.credited_invoice_id and i.version = 3 where x.booking_id = pg_temp.b();
-- rounding never leaves anything over, whatever the pieces
create function pg_temp.pieces(p_amounts int[], p_rate int) returns text language plpgsql as $$
declare v_b uuid := test.captured_booking(p_amount => (select sum(a) from unnest(p_amounts) a)); v_sum record;
begin
  update booking.settings set tax_rate = p_rate;
  perform test.issue(v_b);
  for i in 1 .. cardinality(p_amounts) loop
    perform test.event('refund.created', test.refund(v_b, p_amounts[i]));
  end loop;
  select sum(v.net) filter (where kind = 'invoice') - sum(v.net) filter (where kind = 'credit_note') as net,
    sum(v.tax) filter (where kind = 'invoice') - sum(v.tax) filter (where kind = 'credit_note') as tax into v_sum
  from booking.invoices i join booking.invoice_versions v on v.invoice_id = i.id and v.version = i.version where i.booking_id = v_b;
  return v_sum.net || ' ' || v_sum.tax;
end
$$;
select is(pg_temp.pieces(pieces, rate), '0 0', format('%s at %s', pieces, rate)) from (values (array[1, 1, 1, 1, 1, 1, 1]), (array[333, 333, 334]), (array[7, 1, 13, 2]), (array[100])) p (pieces),
  unnest(array[0, 700, 1900, 5000, 10000]) rate;
-- a refund of our own outbox
do $$ begin perform pg_temp.again();
  perform booking.cancel_booking_transaction(test.student(pg_temp.b()), pg_temp.b()); perform test.run_commands(pg_temp.b()); end $$;
select is(test.papers(pg_temp.b()), '{INV credited v1 2500+2500=5000,CN issued v1 2500+2500=5000}', 'a cancelled booking''s refund');
select is_empty('select * from booking.check_invariants()', 'the books are in order at the end');
select * from finish();
