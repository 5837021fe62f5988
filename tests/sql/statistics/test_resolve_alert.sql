-- booking.resolve_alert(): somebody has dealt with it.
select * from no_plan();
select test.set_clock('2026-03-10 12:00Z');
do $$ begin perform booking.raise_alert('dispute', 'dp_1'); perform booking.raise_alert('dispute', 'dp_2'); end $$;
create temp table ids as select id, subject from booking.alerts;
select test.set_clock('2026-03-10 13:00Z');
select is(booking.resolve_alert(id, 'dba'), true, 'an open alert') from ids where subject = 'dp_1';
select results_eq('select subject, resolved_at, resolved_by from booking.alerts order by subject',
  $$ values ('dp_1', '2026-03-10 13:00Z'::timestamptz, 'dba'), ('dp_2', null, null) $$, 'it says who and when; the other stays open');
select is(booking.resolve_alert(id, 'another'), false, 'again there is none open') from ids where subject = 'dp_1';
select is((select resolved_by from booking.alerts where subject = 'dp_1'), 'dba', 'the first to resolve it stays');
select is(booking.resolve_alert(0, 'dba'), false, 'an alert that is not there');
select is(booking.resolve_alert(null, 'dba'), false, 'no alert');
select test.refused(format('select booking.resolve_alert(%s, %L)', id, actor), 'PT400', 'invalid_request', '{"field": "actor"}', 'by ' || coalesce(quote_literal(actor), 'nobody'))
from ids, unnest(array[null, '', repeat('x', 256)]) actor where subject = 'dp_2';
select results_eq($$ select actor, action, detail, subject::bigint from booking.audit_log where action = 'alert.resolved' $$,
  $$ select 'dba', 'alert.resolved', '{"kind": "dispute", "subject": "dp_1"}'::jsonb, id from ids where subject = 'dp_1' $$, 'the audit log has it once');
select * from finish();
