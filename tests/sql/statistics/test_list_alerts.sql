-- booking.list_alerts(): what a person must look at.
select plan(4);
select test.set_clock('2026-03-10 12:00Z');
select is_empty('select * from booking.list_alerts()', 'nothing to look at');
do $$ begin perform booking.raise_alert('dispute', 'dp_1', '{"a": 1}'); perform booking.raise_alert('command_dead', 'c_1'); perform booking.raise_alert('dispute', 'dp_2'); end $$;
create temp table ids as select id, subject from booking.alerts;
select results_eq('select alert_id, kind, subject, detail, times, first_at, last_at, resolved_at, resolved_by from booking.list_alerts()',
  $$ select id, case subject when 'c_1' then 'command_dead' else 'dispute' end, subject, case subject when 'dp_1' then '{"a": 1}' else '{}' end::jsonb, 1,
       '2026-03-10 12:00Z'::timestamptz, '2026-03-10 12:00Z'::timestamptz, null::timestamptz, null::text from ids order by id $$, 'the open ones, oldest first');
do $$ begin perform booking.resolve_alert(id, 'dba') from ids where subject = 'c_1'; end $$;
select results_eq('select subject from booking.list_alerts()', array['dp_1', 'dp_2'], 'what was resolved is gone from it');
select results_eq('select subject, resolved_by from booking.list_alerts(p_all => true)', $$ values ('dp_1', null), ('c_1', 'dba'), ('dp_2', null) $$, 'unless all are asked for');
select * from finish();
