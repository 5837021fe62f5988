-- booking.search_invoices(): one's own, or everybody's for an administrator; newest first, by page, by every filter.
select * from no_plan();
create function pg_temp.issued(n int, p_student text, p_expert text) returns uuid language plpgsql as $$
declare v_b uuid;
begin
  perform test.set_clock('2026-03-01 12:00Z'::timestamptz + n * interval '1 day');
  v_b := test.book(test.make_slot(n * interval '2 hours' + interval '2 days', p_session => test.make_session(p_expert)), p_student);
  perform test.capture(v_b);
  perform test.issue(v_b);
  return v_b;
end
$$;
create temp table b as select n, pg_temp.issued(n, s, e) as id from (values
  (1, 'anna', 'ben'), (2, 'anna', 'carl'), (3, 'dora', 'anna'), (4, 'dora', 'carl'), (5, 'anna', 'anna'), (6, 'anna', 'ben')) v (n, s, e);
create function pg_temp.refunds() returns void language plpgsql as $$
begin
  perform test.set_clock('2026-03-08 12:00Z');
  perform test.event('refund.created', test.refund(id, 100, 're_2')) from b where n = 2;
  perform test.set_clock('2026-03-08 13:00Z');
  perform test.event('refund.created', test.refund(id, 5000, 're_4')) from b where n = 4;
  perform test.event('refund.created', test.refund(id, 5000, 're_6')) from b where n = 6;
  perform test.event('refund.failed', test.refund(id, 5000, 're_6', 'failed')) from b where n = 6;
end
$$;
do $$ begin perform pg_temp.refunds(); end $$;
-- CN2 and CN3 have one time: the id, which nobody can foresee, puts them in order
create temp table last_two as select array_agg('CN' || i.serial order by i.id desc) as names from booking.invoices i where i.issued_at = '2026-03-08 13:00Z';
create function pg_temp.id_of(p_number text) returns uuid language sql as $$ select i.id from booking.invoices i where i.number = p_number $$;
create function pg_temp.found(p_user text, p_more text default '') returns text[] language plpgsql as $$
declare v_found text[];
begin
  execute format('select coalesce(array_agg(replace(replace(s.number, ''-2026-00000'', ''''), ''INV'', '''') order by s.ordinality), ''{}'')
    from booking.search_invoices(p_user_id => %L %s) with ordinality s', p_user, p_more) into v_found;
  return v_found;
end
$$;
select is(pg_temp.found('anna'), '{CN3,CN1,6,5,3,2,1}', 'as student and as expert, newest first; hers to herself once');
select is(pg_temp.found('carl'), '{CN2,CN1,4,2}', 'an expert''s');
select is(pg_temp.found('ann'), '{}', 'nobody else''s');
select is(pg_temp.found('ann', ', p_is_admin => true'), names || '{CN1,6,5,4,3,2,1}', 'an administrator sees all') from last_two;
select is(pg_temp.found('anna', ', p_is_admin => true'), pg_temp.found('ann', ', p_is_admin => true'), 'each once, also when some are the administrator''s own');
select is(pg_temp.found('ann', ', p_is_admin => null'), '{}', 'who only may be one does not');
select is(pg_temp.found('ann', ', p_is_admin => true' || more), expected::text[], 'filter' || more) from (values
  (', p_student_id => ''dora''', '{CN2,4,3}'), (', p_expert_id => ''carl''', '{CN2,CN1,4,2}'), (', p_student_id => ''dora'', p_expert_id => ''carl''', '{CN2,4}'),
  (', p_from => ''2026-03-06 12:00Z'', p_to => ''2026-03-08 13:00Z''', '{CN1,6,5}'), (', p_to => ''2026-03-06 12:00Z''', '{4,3,2,1}'),
  (', p_from => ''2026-03-03 12:00Z'', p_to => ''2026-03-05 12:00Z''', '{3,2}'),
  (', p_status => ''issued'', p_to => ''2026-03-08 13:00Z''', '{CN1,6,5,3,1}'), (', p_status => ''partially_credited''', '{2}'), (', p_status => ''credited''', '{4}'), (', p_status => ''void''', '{CN3}'),
  (', p_number => ''INV-2026-000003''', '{3}'), (', p_number => ''INV-2026''', '{}')) v (more, expected);
select is(pg_temp.found('anna', more), expected::text[], 'anna''s own, filter' || more) from (values
  (', p_student_id => ''anna''', '{CN3,CN1,6,5,2,1}'), (', p_student_id => ''dora''', '{3}'), (', p_expert_id => ''anna''', '{5,3}'),
  (', p_from => ''2026-03-04 12:00Z'', p_to => ''2026-03-07 12:00Z''', '{5,3}'), (', p_status => ''void''', '{CN3}'), (', p_number => ''INV-2026-000004''', '{}'),
  (', p_limit => 2', '{CN3,CN1}'), (format(', p_limit => 3, p_after => %L', pg_temp.id_of('INV-2026-000006')), '{5,3,2}'),
  (format(', p_limit => 3, p_after => %L', pg_temp.id_of('INV-2026-000002')), '{1}'), (format(', p_after => %L', pg_temp.id_of('INV-2026-000001')), '{}'),
  (format(', p_after => %L, p_to => ''2026-03-04 00:00Z''', pg_temp.id_of('INV-2026-000006')), '{2,1}'),
  (format(', p_after => %L, p_to => ''2030-03-04 00:00Z'', p_from => ''2026-03-05 00:00Z''', pg_temp.id_of('INV-2026-000006')), '{5}'),
  (format(', p_after => %L', gen_random_uuid()), '{}')) v (more, expected);
select is(pg_temp.found('ann', format(', p_is_admin => true, p_limit => 2, p_after => %L', pg_temp.id_of('CN-2026-00000' || right(names[1], 1)))), array[names[2], 'CN1'], 'pages split what has one time')
from last_two;
select is(to_jsonb(s) - 'buyer_name', to_jsonb(g) - array['latest_version', 'credited_number', 'credited_issued_at', 'seller', 'buyer', 'line', 'tax_name', 'tax_rate', 'amount_credited',
  'reason', 'note', 'version_created_at'], 'columns as in get_invoice: ' || s.number)
from booking.search_invoices('anna') s, lateral booking.get_invoice('anna', s.invoice_id) g;
do $$ begin perform booking.correct_invoice('ann', pg_temp.id_of('INV-2026-000001'), '{"name": "Zoë"}', 'a typo'); end $$;
select is(buyer_name || ' ' || version, 'Zoë 2', 'in the newest version') from booking.search_invoices('anna', p_number => 'INV-2026-000001');
select test.refused('select * from booking.search_invoices(' || args || ')', 'PT400', 'invalid_request', jsonb_build_object('field', field), field) from (values
  ('null', 'user_id'), ('''''', 'user_id'), ('''a'', p_status => ''paid''', 'status'), ('''a'', p_limit => 0', 'limit'), ('''a'', p_limit => 1001', 'limit'), ('''a'', p_limit => null', 'limit'),
  ('''a'', p_from => now(), p_to => now()', 'to')) v (args, field);
select * from finish();
