-- booking.has_scheduled_maintenance(): false where there is no pg_cron. (With pg_cron: tests/py/maintenance/test_pg_cron.py.)
select * from no_plan();
select is(booking.has_scheduled_maintenance(), false, 'without pg_cron');
create schema cron;
select is(booking.has_scheduled_maintenance(), false, 'with a schema of that name only');
create table cron.job (jobid bigint, jobname text, command text, active boolean, database text default current_database());
select is(booking.has_scheduled_maintenance(), false, 'where its jobs may not be read');
grant usage on schema cron to public;
grant select on cron.job to public;
select is(booking.has_scheduled_maintenance(), false, 'without a job');
insert into cron.job values (1, 'something-else', 'call booking.run_maintenance()', true);
insert into cron.job values (2, 'pgbooking-maintenance', 'call booking.run_maintenance()', false);
select is(booking.has_scheduled_maintenance(), false, 'with another job, and an inactive one');
update cron.job set active = true;
select is(booking.has_scheduled_maintenance(), true, 'with an active one');
select * from finish();
