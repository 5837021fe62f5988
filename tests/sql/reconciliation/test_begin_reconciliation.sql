-- booking.begin_reconciliation(): a run of its own for each caller.
select * from no_plan();
select test.set_clock('2026-03-10 12:00Z');
create temp table runs (n int, id uuid);
grant all on runs to booking_app, booking_dba;
set local role booking_app;
insert into runs select 1, run_id from booking.begin_reconciliation(p_from => '2026-03-01 00:00Z', p_to => '2026-03-02 00:00Z', p_actor => 'ann');
reset role;
set local role booking_dba;
insert into runs values (2, booking.begin_reconciliation('2026-03-01 00:00Z', '2026-03-02 00:00Z'));
reset role;
select results_eq($$ select n, window_from, window_to, status::text, actor, created_at from booking.reconciliation_runs join runs using (id) order by n $$,
  $$ values (1, '2026-03-01 00:00Z'::timestamptz, '2026-03-02 00:00Z'::timestamptz, 'running', 'ann', '2026-03-10 12:00Z'::timestamptz),
            (2, '2026-03-01 00:00Z'::timestamptz, '2026-03-02 00:00Z'::timestamptz, 'running', null, '2026-03-10 12:00Z'::timestamptz) $$,
  'each call begins a run, also for a window that another one looks at');
select results_eq($$ select a.actor, a.detail ->> 'from' from booking.audit_log a where a.action = 'reconciliation.begun' and a.subject = (select id::text from runs where n = 1) $$,
  $$ values ('ann', '2026-03-01T00:00:00+00:00') $$, 'it is audited');
select test.refused(format('select booking.begin_reconciliation(%s, %s, %s)', f, t, a), 'PT400', 'invalid_request', jsonb_build_object('field', field), what)
from (values ('null', '''2026-03-02''', 'null', 'from', 'no beginning'), ('''-infinity''', '''2026-03-02''', 'null', 'from', 'from the beginning of time'),
  ('''2026-03-02''', 'null', 'null', 'to', 'no end'), ('''2026-03-02''', '''infinity''', 'null', 'to', 'to the end of time'),
  ('''2026-03-02''', '''2026-03-02''', 'null', 'to', 'an empty window'), ('''2026-03-02''', '''2026-03-01''', 'null', 'to', 'a window that ends before it begins'),
  ('''2026-03-01''', '''2026-03-02''', '''''', 'actor', 'a person without an id'),
  ('''2026-03-01''', '''2026-03-02''', 'repeat(''x'', 256)', 'actor', 'a person''s id that is too long')) v (f, t, a, field, what);
select is((select count(*) from booking.reconciliation_runs), 2::bigint, 'a refused one leaves no run');
select * from finish();
