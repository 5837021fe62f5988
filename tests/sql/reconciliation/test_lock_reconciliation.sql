-- booking.lock_reconciliation(): a run that is there, and still open unless a closed one will do.
select * from no_plan();
create temp table r as select booking.begin_reconciliation('2026-03-01', '2026-03-02') as id;
select is((booking.lock_reconciliation(id, false)).id, id, 'an open run is locked and returned') from r;
select test.refused($$ select booking.lock_reconciliation('01890000-0000-7000-8000-000000000001', true) $$, 'PT404', 'reconciliation_not_found',
  '{"run_id": "01890000-0000-7000-8000-000000000001"}', 'there is none with that id');
select test.refused('select booking.lock_reconciliation(null, true)', 'PT404', 'reconciliation_not_found', '{}', 'nor without one');
do $$ begin perform booking.finish_reconciliation(id) from r; end $$;
select test.refused(format('select booking.lock_reconciliation(%L, false)', id), 'PT409', 'reconciliation_finished', jsonb_build_object('run_id', id), 'a finished run is closed') from r;
select is((booking.lock_reconciliation(id, true)).status::text, 'finished', 'unless a closed one will do') from r;
select * from finish();
