-- What the application's roles could try beside reading and writing: each way around the functions is closed.
select * from no_plan();
create function pg_temp.tries(p_role text, p_sql text) returns text language plpgsql as $$
begin
  execute format('set local role %I', p_role);
  execute p_sql;
  reset role;
  return 'was done';
exception
  when others then
    return sqlstate;
end
$$;
create temp table roles as select unnest(array['booking_app', 'booking_cron', 'booking_dba']) as role;
create temp table tables as select c.oid, c.relname::text as name from pg_class c where c.relnamespace = 'booking'::regnamespace and c.relkind = 'r';
create temp table sequences as select c.relname::text as name from pg_class c where c.relnamespace = 'booking'::regnamespace and c.relkind = 'S';
create temp table triggers as select p.oid::regprocedure as signature from pg_proc p
  where p.pronamespace = 'booking'::regnamespace and p.prorettype = 'trigger'::regtype;
create temp table functions as select p.oid::regprocedure as signature, p.prokind from pg_proc p where p.pronamespace = 'booking'::regnamespace;
create schema open_to_all;
grant all on schema open_to_all to public;

select is(pg_temp.tries(role, 'create table open_to_all.mine (x int)'), 'was done', role || ' may work where it is let')
from roles where role = 'booking_app';
select is_empty(format($$ select name, s from tables, unnest(array[
    'lock table booking.%%I in access share mode', 'lock table booking.%%I in access exclusive mode', 'copy booking.%%I to ''/dev/null''',
    'alter table booking.%%I disable trigger all', 'alter table booking.%%I owner to current_user', 'alter table booking.%%I enable row level security',
    'drop table booking.%%I', 'comment on table booking.%%I is ''mine''', 'create index on booking.%%I ((1))',
    'create rule mine as on insert to booking.%%I do instead nothing', 'create policy mine on booking.%%I',
    'create view open_to_all.seen as select * from booking.%%I; select from open_to_all.seen', 'create table open_to_all.copied as table booking.%%I']) s
    where pg_temp.tries(%L, format(s, name)) <> '42501' $$, role), role || ' can do nothing with any table') from roles;
select is_empty(format($$ select name from tables where pg_temp.tries(%L,
    format('create table open_to_all.child (id int references booking.%%I)', name)) = 'was done' $$, role), role || ' can refer to no table') from roles;
select is_empty(format($$ select name from tables where pg_temp.tries(%L,
    format('create trigger mine after insert on booking.%%I execute function pg_catalog.suppress_redundant_updates_trigger()', name)) <> '42501' $$, role),
  role || ' can put a trigger on no table') from roles;
select is_empty(format($$ select signature from triggers where pg_temp.tries(%L,
    format('create table open_to_all.bait (id int); create trigger mine before insert on open_to_all.bait for each row execute function %%s',
      signature)) <> '42501' $$, role), role || ' can put no trigger function of ours to work on a table of its own') from roles;
select is_empty(format($$ select name, s from sequences, unnest(array['select nextval(%%L)', 'select setval(%%L, 1)', 'select currval(%%L)',
    'select last_value from %%s', 'drop sequence %%s', 'alter sequence %%s restart']) s
    where pg_temp.tries(%L, format(s, 'booking.' || quote_ident(name))) <> '42501' $$, role), role || ' can do nothing with a sequence') from roles;
select is_empty(format($$ select signature, s from functions, unnest(array['alter routine %%s reset all', 'alter routine %%s security invoker',
    'alter routine %%s owner to current_user', 'drop routine %%s']) s
    where not (prokind = 'p' and s ~ 'security') and pg_temp.tries(%L, format(s, signature)) <> '42501' $$, role), role || ' can change no function') from roles;
select is_empty(format($$ select s from unnest(array['create function booking.mine() returns int language sql as ''select 1''',
    'create table booking.mine (x int)', 'create type booking.mine as enum (''a'')', 'create operator booking.== (leftarg = int, rightarg = int, function = int4eq)',
    'alter schema booking rename to mine', 'drop schema booking cascade', 'create extension dblink',
    'create event trigger mine on ddl_command_end execute function pg_catalog.suppress_redundant_updates_trigger()',
    'create role mine', 'alter role booking_owner login', 'grant booking_owner to current_user',
    'set session_replication_role = replica', 'copy (select 1) to program ''true''',
    'select pg_read_file(''PG_VERSION'')', 'create language plperlu', 'alter system set log_statement = ''all''',
    'select lo_import(''/etc/passwd'')', 'create publication mine for all tables', 'create subscription mine connection '''' publication p']) s
    where pg_temp.tries(%L, s) = 'was done' $$, role), role || ' can make nothing of ours and become nobody') from roles;
-- whoever may use a thing is only warned when he passes it on
create temp table rights as select c.oid::text, c.relacl::text as acl from pg_class c where c.relnamespace = 'booking'::regnamespace
  union all select p.oid::text, p.proacl::text from pg_proc p where p.pronamespace = 'booking'::regnamespace
  union all select n.oid::text, n.nspacl::text from pg_namespace n where n.nspname = 'booking';
set local client_min_messages = error;
select cmp_ok((select count(*) from (select pg_temp.tries(role, s) from roles, unnest(array['grant execute on all functions in schema booking to public',
    'grant select on all tables in schema booking to public', 'grant all on schema booking to public with grant option']) s) t), '=', 9::bigint, 'rights are passed on');
select results_eq($$ select c.oid::text, c.relacl::text from pg_class c where c.relnamespace = 'booking'::regnamespace
  union all select p.oid::text, p.proacl::text from pg_proc p where p.pronamespace = 'booking'::regnamespace
  union all select n.oid::text, n.nspacl::text from pg_namespace n where n.nspname = 'booking' order by 1 $$, 'select oid, acl from rights order by 1', 'to no effect');
select is_empty(format($$ select t.name from tables t where pg_temp.tries(%L, format('select attname from pg_stats where schemaname = %%L and tablename = %%L', 'booking', t.name)) <> 'was done' $$, role),
  role || ' may ask for statistics') from roles where role = 'booking_app';
create function pg_temp.sees(p_role text) returns bigint language plpgsql as $$
declare
  v_rows bigint;
begin
  execute format('set local role %I', p_role);
  select count(*) into v_rows from pg_catalog.pg_stats s where s.schemaname = 'booking';
  reset role;
  return v_rows;
end
$$;
select test.captured_booking();
analyze booking.bookings;
select cmp_ok((select count(*) from pg_catalog.pg_stats s where s.schemaname = 'booking'), '>', 0::bigint, 'statistics hold values of columns');
select is(pg_temp.sees(role), 0::bigint, role || ' is shown none of them') from roles;
select * from finish();
