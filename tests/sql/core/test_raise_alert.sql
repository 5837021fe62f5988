-- booking.raise_alert(): one open alert a kind and subject.
select plan(6);
select test.set_clock('2026-03-10 12:00Z');
do $$ begin perform booking.raise_alert('dispute', 'dp_1', '{"amount": 1}'); end $$;
select results_eq($$ select kind, subject, detail, times, first_at, last_at, resolved_at, resolved_by from booking.alerts $$,
  $$ values ('dispute', 'dp_1', '{"amount": 1}'::jsonb, 1, '2026-03-10 12:00Z'::timestamptz, '2026-03-10 12:00Z'::timestamptz,
       null::timestamptz, null::text) $$, 'it leaves an alert');
select test.set_clock('2026-03-10 13:00Z');
do $$ begin perform booking.raise_alert('dispute', 'dp_1', '{"amount": 2}'); end $$;
select results_eq($$ select times, detail, first_at, last_at from booking.alerts $$,
  $$ values (2, '{"amount": 2}'::jsonb, '2026-03-10 12:00Z'::timestamptz, '2026-03-10 13:00Z'::timestamptz) $$,
  'repeated, it counts up and keeps the newest detail');
do $$ begin perform booking.raise_alert('dispute', 'dp_2'); perform booking.raise_alert('command_dead', 'dp_1'); end $$;
select is((select count(*) from booking.alerts), 3::bigint, 'another subject or another kind is another alert');
select is((select detail from booking.alerts where subject = 'dp_2'), '{}'::jsonb, 'details are optional');
do $$ begin perform booking.resolve_alert((select id from booking.alerts where kind = 'dispute' and subject = 'dp_1'), 'dba');
  perform booking.raise_alert('dispute', 'dp_1', '{"amount": 3}'); end $$;
select results_eq($$ select times, resolved_by from booking.alerts where kind = 'dispute' and subject = 'dp_1' order by id $$,
  $$ values (2, 'dba'), (1, null) $$, 'after it was resolved a new one begins; the old one stays as it was');
select throws_ok($$ insert into booking.alerts (kind, subject, first_at, last_at) values ('dispute', 'dp_1', now(), now()) $$,
  '23505', null, 'the table itself holds at most one open alert a kind and subject');
select * from finish();
