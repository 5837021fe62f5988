-- booking.write_invoice(): a new invoice or credit note, its first version, its number, its audit row.
select * from no_plan();
select test.set_clock('2026-03-10 12:00Z');
create temp table t as select test.captured_booking() as b;
create function pg_temp.written(p_gross bigint, p_tax bigint, p_credited booking.invoices default null) returns booking.invoices language sql as $$
  select booking.write_invoice(p, p_credited,
    jsonb_populate_record(null::booking.invoice_versions, '{"seller": {"name": "S"}, "buyer": {"name": "B"}, "line": {"title": "L"}, "tax_name": "VAT", "tax_rate": 1900}'),
    p_gross, p_tax) from t, booking.payments p where p.booking_id = t.b $$;
create temp table i as select (w.w).* from (select pg_temp.written(5000, 798) as w offset 0) w;
select is(format('%s %s %s %s', kind, number, status, version), 'invoice INV-2026-000001 issued 1', 'the first invoice') from i;
select is(row(i.payment_id, i.booking_id, i.student_id, i.expert_id, i.currency::text, i.decimals::int, i.gross, i.issued_at, i.created_at, i.credited_invoice_id)::text,
  row(b.payment_id, b.id, b.student_id, b.expert_id, 'usd', 2, 5000, booking.clock(), booking.clock(), null)::text, 'whose, for what, when')
from i, t, booking.bookings b where b.id = t.b;
select is(booking.shard_of(i.id), booking.shard_of(t.b), 'it lives where its booking lives') from i, t;
select results_eq($$ select version, seller, buyer, line, tax_name, tax_rate, net, tax, gross, reason, note, created_at from booking.invoice_versions $$,
  $$ values (1, '{"name": "S"}'::jsonb, '{"name": "B"}'::jsonb, '{"title": "L"}'::jsonb, 'VAT', 1900, 4202::bigint, 798::bigint, 5000::bigint, 'issued', null::text, '2026-03-10 12:00Z'::timestamptz) $$,
  'what it says');
select results_eq($$ select action, subject, payment_id, detail ->> 'number', detail -> 'gross' from booking.audit_log where action like 'invoice.%' $$,
  $$ select 'invoice.issued', i.id::text, i.payment_id, 'INV-2026-000001', '5000'::jsonb from i $$, 'the audit log has it');
create temp table n as select (w.w).* from (select pg_temp.written(200, 32, x) as w from booking.invoices x offset 0) w;
select is(format('%s %s %s', n.kind, n.number, n.credited_invoice_id = i.id), 'credit_note CN-2026-000001 t', 'a credit note has a series of its own and names its invoice') from n, i;
select is(action, 'credit_note.issued', 'in the audit log, too') from (select a.action from booking.audit_log a order by a.id desc limit 1) a;
update booking.invoice_series set last_number = 999998 where series = 'CN';
select is((pg_temp.written(1, 0, x)).number, v.number, 'numbers grow beyond six digits: ' || v.number) from booking.invoices x, (values ('CN-2026-999999'), ('CN-2026-1000000')) v (number)
where x.kind = 'invoice';
update booking.settings set credit_note_series = 'GS';
select is((pg_temp.written(1, 0, x)).number, 'GS-2026-000001', 'the prefix is set by the installation') from booking.invoices x where x.kind = 'invoice';
select throws_ok($$ update booking.settings set credit_note_series = invoice_series $$, '23514', null, 'the two series differ');
select throws_ok($$ update booking.settings set tax_rate = 10001 $$, '23514', null, 'a rate is at most 100 %');
select * from finish();
