-- booking.correct_invoice(): the buyer of an invoice in a new version; amounts are not corrected by hand.
select * from no_plan();
create temp table t as select test.captured_booking() as b;
create temp table i as select test.issue(b) as id, test.student(b) as student from t;
create function pg_temp.corrected(p_changes jsonb, p_reason text default 'a typo') returns text language sql as $$
  select number || ' ' || version from i, booking.correct_invoice('ann', i.id, p_changes, p_reason) $$;
create function pg_temp.buyer() returns jsonb language sql as $$
  select v.buyer - 'id' from i join booking.invoices x on x.id = i.id join booking.invoice_versions v on v.invoice_id = x.id and v.version = x.version $$;
select matches(pg_temp.corrected('{"name": " Zoë Łuczak ", "address": "Rue 1\nParis"}'), '^INV-\d{4}-000001 2$', 'a new version');
select is(pg_temp.buyer(), '{"name": "Zoë Łuczak", "address": "Rue 1\nParis", "tax_id": null}'::jsonb, 'says it');
select matches(pg_temp.corrected('{"name": "Zoë Łuczak"}', 'again'), ' 2$', 'the same again changes nothing');
select matches(pg_temp.corrected('{"tax_id": "FR1", "address": null}'), ' 3$', 'one thing more, one thing less');
select is(pg_temp.buyer(), '{"name": "Zoë Łuczak", "address": null, "tax_id": "FR1"}'::jsonb, 'the rest stays');
select results_eq('select version, net, tax, gross, reason, note, buyer ->> ''id'' from booking.invoice_versions order by 1',
  $$ select v.version, 5000::bigint, 0::bigint, 5000::bigint, v.reason, v.note, i.student from i,
     (values (1, 'issued', null), (2, 'corrected', 'a typo'), (3, 'corrected', 'a typo')) v (version, reason, note) $$, 'every version stays; the money and whose it is, too');
select is((select array_agg(actor || ' ' || action || ' ' || (detail ->> 'version') order by id) from booking.audit_log where action = 'invoice.corrected'),
  '{ann invoice.corrected 2,ann invoice.corrected 3}', 'who did it is in the audit log');
select is_empty($$ select from booking.audit_log where detail::text ~ 'Zo|typo|Paris' $$, 'what people wrote is not');
select test.refused(format('select * from booking.correct_invoice(''ann'', %L, %L, ''x'')', id, changes), 'PT400', 'invalid_request', '{"field": "changes"}', 'not a change: ' || coalesce(changes, 'null'))
from i, unnest(array[null, '{}', '[]', '"x"', '{"gross": 1}', '{"name": null}', '{"name": " "}', '{"name": 7}', '{"address": ""}', '{"tax_id": ["x"]}', '{"id": "x"}',
  jsonb_build_object('name', repeat('x', 201))::text, jsonb_build_object('address', repeat('x', 1001))::text, jsonb_build_object('tax_id', repeat('x', 51))::text]) changes;
select test.refused(format('select * from booking.correct_invoice(''ann'', %L, ''{"name": "x"}'', %L)', id, reason), 'PT400', 'invalid_request', '{"field": "reason"}', 'not a reason')
from i, unnest(array[null, ' ', repeat('x', 501)]) reason;
select test.refused(format('select * from booking.correct_invoice('''', %L, ''{"name": "x"}'', ''x'')', id), 'PT400', 'invalid_request', '{"field": "actor_id"}', 'somebody corrects') from i;
select test.refused($$ select * from booking.correct_invoice('ann', '01890000-0000-7000-8000-000000000001', '{"name": "x"}', 'x') $$, 'PT404', 'invoice_not_found',
  '{"invoice_id": "01890000-0000-7000-8000-000000000001"}', 'no such invoice');
do $$ begin perform test.event('refund.created', test.refund(b, 100)) from t; end $$;
select matches(c.number || ' ' || c.version, '^CN-\d{4}-000001 2$', 'a credit note is corrected in the same way')
from booking.invoices n, booking.correct_invoice('ann', n.id, '{"name": "Zoé"}', 'a typo') c where n.kind = 'credit_note';
select is_empty('select * from booking.check_invariants()', 'the books are in order');
select * from finish();
