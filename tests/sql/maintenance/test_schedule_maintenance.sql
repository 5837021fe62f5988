-- booking.schedule_maintenance(): where pg_cron is not, it says what to do. (Where it is: tests/py/maintenance/test_pg_cron.py.)
select * from no_plan();
select is(booking.schedule_maintenance(), format('pg_cron is not installed in database %I, nothing was scheduled. Where it is installed (see cron.database_name), run: '
  'select cron.schedule_in_database(''pgbooking-maintenance'', ''*/15 * * * *'', ''call booking.run_maintenance()'', %L); '
  'or let "pgbooking worker" or cron run the maintenance.', current_database(), current_database()), 'it says that nothing was scheduled, and the statement to run');
select matches(booking.schedule_maintenance('*/5 * * * *'), 'run: select cron.schedule_in_database\(''pgbooking-maintenance'', ''\*/5 \* \* \* \*'', ''call',
  'with the schedule that was asked for');
select matches(booking.schedule_maintenance('it''s'), '''it''''s''', 'quoted as it must be');
select test.refused(format('select booking.schedule_maintenance(%L)', s), 'PT400', 'invalid_request', '{"field": "schedule"}', 'schedule ' || coalesce(quote_literal(s), 'null'))
from unnest(array[null, '', '  ']) s;
select * from finish();
