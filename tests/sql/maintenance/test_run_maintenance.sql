-- booking.run_maintenance(): a procedure that commits, hence not inside a transaction. (What it does: tests/py/maintenance.)
select plan(2);
select throws_ok('call booking.run_maintenance()', '2D000', 'invalid transaction termination', 'inside a transaction it refuses to work');
select is((select p.prokind::text || p.prosecdef || coalesce(p.proconfig::text, ' no settings') from pg_proc p where p.oid = 'booking.run_maintenance'::regproc),
  'pfalse no settings', 'it has neither settings nor the owner''s rights, or it could not commit');
select * from finish();
