-- booking.get_invoice(): a version of an invoice, for its student, its expert and administrators.
select * from no_plan();
select test.set_clock('2026-03-10 12:00Z');
update booking.settings set seller_name = 'Lessons Ltd', tax_rate = 1900;
create temp table t as select test.captured_booking(p_currency => 'kwd') as b;
create temp table i as select test.issue(b) as id, test.student(b) as student, test.expert(b) as expert from t;
select test.set_clock('2026-03-11 12:00Z');
do $$ begin perform test.event('refund.created', test.refund(b, 700)) from t; end $$;
create temp table g as select g.* from i, booking.get_invoice(student, id) g;
select is(row(g.invoice_id, g.kind, g.number, g.status, g.version, g.latest_version, g.payment_id, g.booking_id, g.credited_invoice_id, g.credited_number,
    g.student_id, g.expert_id, g.currency, g.decimals, g.tax_name, g.tax_rate, g.net, g.tax, g.gross, g.amount_credited, g.reason, g.note, g.issued_at, g.version_created_at)::text,
  row(i.id, 'invoice', 'INV-2026-000001', 'partially_credited', 1, 1, (test.payment(b)).id, b, null, null, i.student, i.expert, 'kwd', 3, 'VAT', 1900, 4202, 798, 5000, 700,
    'issued', null, '2026-03-10 12:00Z'::timestamptz, '2026-03-10 12:00Z'::timestamptz)::text, 'everything about it') from g, i, t;
select is(seller ->> 'name', 'Lessons Ltd', 'seller') from g;
select is(buyer ->> 'name', student, 'buyer') from g, i;
select is(line ->> 'title', 'An hour', 'line') from g;
select results_eq(format('select g.* from i, booking.get_invoice(%s) g', args), 'select * from g', args || ': sees the same')
from unnest(array['expert, id', '''ann'', id, p_is_admin => true', 'null, id, p_is_admin => true']) args;
select test.refused(format('select * from booking.get_invoice(%L, %L, p_is_admin => %s)', who, id, admin), 'PT403', 'not_your_invoice', jsonb_build_object('invoice_id', id), 'nobody else')
from i, (values ('somebody', 'false'), (null, 'false'), ('somebody', 'null')) v (who, admin);
select test.refused('select * from booking.get_invoice(''x'', ''01890000-0000-7000-8000-000000000001'', p_is_admin => true)', 'PT404', 'invoice_not_found',
  '{"invoice_id": "01890000-0000-7000-8000-000000000001"}', 'no such invoice');
do $$ begin perform booking.correct_invoice('ann', id, '{"name": "Zoë"}', 'a typo') from i; end $$;
select is(format('%s/%s %s %s %s %s', version, latest_version, buyer ->> 'name', reason, note, version_created_at = booking.clock()), '2/2 Zoë corrected a typo t',
  'the newest version unless one is asked for') from i, booking.get_invoice(student, id);
select is(format('%s/%s %s', version, latest_version, buyer ->> 'name'), '1/2 ' || student, 'the one that is asked for') from i, booking.get_invoice(student, id, 1);
select test.refused(format('select * from booking.get_invoice(%L, %L, %s)', student, id, v), 'PT404', 'invoice_version_not_found',
  jsonb_build_object('invoice_id', id, 'version', v, 'latest_version', 2), 'no such version: ' || v) from i, unnest(array[0, 3]) v;
select is(format('%s %s %s %s %s %s', g.kind, g.number, credited_number, g.credited_invoice_id = i.id, credited_issued_at, amount_credited),
  format('credit_note CN-2026-000001 INV-2026-000001 t %s 0', '2026-03-10 12:00Z'::timestamptz), 'a credit note names its invoice')
from i, booking.invoices n, booking.get_invoice(student, n.id) g where n.kind = 'credit_note';
select * from finish();
