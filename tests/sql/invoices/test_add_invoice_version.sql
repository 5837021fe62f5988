-- booking.add_invoice_version(): the next version, with this buyer and these amounts; the old one stays.
select * from no_plan();
create temp table t as select test.captured_booking() as b;
update booking.settings set seller_name = 'Before', tax_rate = 1900;
do $$ begin perform test.issue(b) from t; end $$;
create temp table old as select v.* from booking.invoice_versions v;
update booking.settings set seller_name = 'After', tax_rate = 700;
select test.set_clock('2031-03-10 12:00Z');
create temp table i as select (a.a).* from (select booking.add_invoice_version(test.invoice(b), '{"name": "New"}', 4000, 639, 'corrected', 'a typo', 'ann') as a from t offset 0) a;
select is(format('%s %s %s', version, gross, status), '2 4000 issued', 'the invoice is at its second version') from i;
select results_eq($$ select version, buyer, seller ->> 'name', line = (select line from old), tax_rate, net, tax, gross, reason, note, created_at from booking.invoice_versions where version = 2 $$,
  $$ values (2, '{"name": "New"}'::jsonb, 'Before', true, 1900, 3361::bigint, 639::bigint, 4000::bigint, 'corrected', 'a typo', '2031-03-10 12:00Z'::timestamptz) $$,
  'seller, line and rate are those of the version before, whatever the settings say now');
select results_eq('select * from booking.invoice_versions where version = 1', 'select * from old', 'the first one is as it was');
select results_eq($$ select actor, detail ->> 'version', detail ->> 'reason' from booking.audit_log where action = 'invoice.corrected' $$,
  $$ values ('ann', '2', 'corrected') $$, 'the audit log has it');
select throws_ok($$ select booking.add_invoice_version(test.invoice(b), '{}', -1, 0, 'x') from t $$, '23514', null, 'never less than nothing');
-- a credit note that comes to nothing
create temp table u as select test.captured_booking() as b;
do $$ begin perform test.issue(b) from u; perform test.event('refund.created', test.refund(b, 100)) from u; end $$;
select is((booking.add_invoice_version(n, '{}', 0, 0, 'refund_failed')).status::text, 'void', 'a credit note of nothing is void') from booking.invoices n where kind = 'credit_note';
select is(action, 'credit_note.voided', 'and so says the audit log') from (select a.action from booking.audit_log a order by a.id desc limit 1) a;
select * from finish();
