-- booking.keep_invoice(): an invoice's facts stay, its version only grows, a void credit note stays void.
select * from no_plan();
create temp table t as select test.captured_booking() as b;
do $$ begin
  perform test.issue(b) from t;
  perform test.event('refund.created', test.refund(b, 100, 're_1')) from t;
  perform test.event('refund.failed', test.refund(b, 100, 're_1', 'failed')) from t;
end $$;
create temp table i as
  select (test.invoice(b)).id as id, (select n.id from booking.invoices n where n.kind = 'credit_note') as note from t;
select test.refused(format('update booking.invoices set %s where id = %L', change, id), 'PT409', 'append_only',
  jsonb_build_object('table', 'invoices', 'invoice_id', id), 'a fact stays: ' || change)
from i, unnest(array['id = gen_random_uuid()', 'kind = ''credit_note'', credited_invoice_id = id', 'series = ''X''', 'year = 1999', 'serial = 9', 'number = ''X''',
  'payment_id = gen_random_uuid()', 'booking_id = gen_random_uuid()', 'student_id = ''x''', 'expert_id = ''x''', 'currency = ''eur''',
  'decimals = 3', 'issued_at = now()']) change;
select test.refused(format('update booking.invoices set %s where id = %L', change, id), 'PT409', 'append_only', '{}', what)
from i, (values ('version = version + 2', 'no version is left out'), ('version = 0', 'no version is taken back'),
  ('gross = 1', 'an amount changes with a version only')) v (change, what);
select test.refused(format('update booking.invoices set status = ''issued'', gross = 1, version = version + 1 where id = %L', note), 'PT409', 'illegal_transition',
  jsonb_build_object('invoice_id', note, 'from', 'void', 'to', 'issued'), 'void stays void') from i;
select test.set_clock('2031-01-01 00:00Z');
select lives_ok(format('update booking.invoices set status = %L where id = %L', s, id), 'an invoice may become ' || s)
from i, unnest(array['partially_credited', 'credited', 'partially_credited', 'issued', 'credited', 'issued']) s;
select is((select x.updated_at from booking.invoices x where x.id = i.id), '2031-01-01 00:00Z'::timestamptz, 'updated_at is the time of the change') from i;
select throws_ok(format('update booking.invoices set status = ''void'' where id = %L', id), '23514', null, 'an invoice is never void') from i;
select throws_ok(format('insert into booking.invoices select (x.r).* from (select jsonb_populate_record(i, %L) as r from booking.invoices i where i.id = %L offset 0) x', change, id),
  '23505', null, what) from i, (values
  ('{"id": "01890000-0000-7000-8000-000000000001", "serial": 9, "number": "X"}', 'a payment has one invoice'),
  ('{"id": "01890000-0000-7000-8000-000000000001", "serial": 9, "payment_id": "01890000-0000-7000-8000-000000000002"}', 'a number is given once'),
  ('{"id": "01890000-0000-7000-8000-000000000001", "number": "X", "payment_id": "01890000-0000-7000-8000-000000000002"}', 'and so is a place in a series')) v (change, what);
select * from finish();
