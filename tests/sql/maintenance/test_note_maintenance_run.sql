-- booking.note_maintenance_run(): one row, with the time of the last run.
select * from no_plan();
select test.set_clock('2026-03-10 12:00Z');
do $$ begin perform booking.note_maintenance_run(); end $$;
select results_eq($$ select last_run_at from booking.maintenance_runs $$, $$ values ('2026-03-10 12:00Z'::timestamptz) $$, 'the first run is noted');
select test.set_clock('2026-03-10 12:15Z');
do $$ begin perform booking.note_maintenance_run(); end $$;
select results_eq($$ select last_run_at from booking.maintenance_runs $$, $$ values ('2026-03-10 12:15Z'::timestamptz) $$, 'a later one in its place');
select * from finish();
