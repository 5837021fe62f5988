-- Every table of the schema, present and future: only functions touch it.
select * from no_plan();
create temp table relations as
select c.oid, c.relname::text as name, c.relkind, c.relowner::regrole::text as owner, c.relacl
from pg_class c where c.relnamespace = 'booking'::regnamespace and c.relkind in ('r', 'p', 'v', 'm', 'S', 'f');
select cmp_ok((select count(*) from relations where relkind = 'r'), '>=', 20::bigint, 'the tables are there');
select is_empty($$ select name from relations where owner <> 'booking_owner' $$, 'booking_owner owns each');
select is_empty($$ select name, a.grantee::regrole, a.privilege_type from relations r, aclexplode(r.relacl) a where a.grantee <> 'booking_owner'::regrole $$,
  'nobody else has a right to a table or a sequence');
select is_empty($$ select attrelid::regclass, attname from pg_attribute a join relations r on r.oid = a.attrelid where a.attacl is not null $$, 'nor to a column');
select is_empty($$ select name from relations where relkind = 'r' and obj_description(oid, 'pg_class') is null $$, 'each table has a comment');
select is_empty($$ select t.typname from pg_type t where t.typnamespace = 'booking'::regnamespace and t.typowner::regrole::text <> 'booking_owner' $$, 'types have the same owner');
select is_empty($$ select r.name from relations r where r.relkind = 'r' and not exists (select from pg_index i where i.indrelid = r.oid and i.indisprimary) and r.name <> 'stat_deltas' $$,
  'each has a primary key, except the lines of the statistics that are only appended and folded');
select is_empty($$ select conrelid::regclass, conname from pg_constraint c join relations r on r.oid = c.conrelid where not c.convalidated $$, 'every constraint is valid');
select is_empty($$ select attrelid::regclass, attname from pg_attribute a join relations r on r.oid = a.attrelid
    where a.attnum > 0 and a.atttypid in ('float4'::regtype, 'float8'::regtype, 'numeric'::regtype, 'money'::regtype) $$, 'no money in floats');
select is_empty($$ select attrelid::regclass, attname from pg_attribute a join relations r on r.oid = a.attrelid
    where a.attnum > 0 and a.atttypid in ('timestamp'::regtype, 'time'::regtype, 'timetz'::regtype) $$, 'every time is an instant');

create function pg_temp.as_role(p_role text, p_sql text) returns void language plpgsql as $$
begin
  execute format('set local role %I', p_role);
  execute p_sql;
end
$$;
select throws_ok(format('select pg_temp.as_role(%L, %L)', role, format(statement, name)), '42501', 'permission denied for table ' || name,
  format('%s: ' || statement, role, name))
from relations, unnest(array['booking_app', 'booking_cron', 'booking_dba']) role,
  unnest(array['select from booking.%I', 'insert into booking.%I default values', 'delete from booking.%I', 'truncate booking.%I']) statement
where relkind = 'r';
select throws_ok(format('select pg_temp.as_role(%L, %L)', role, format('update booking.%I set %I = null', r.name, a.attname)), '42501',
  'permission denied for table ' || r.name, format('%s: update %s', role, r.name))
from relations r, unnest(array['booking_app', 'booking_cron', 'booking_dba']) role,
  lateral (select a.attname from pg_attribute a where a.attrelid = r.oid and a.attnum > 0 and a.attidentity = '' and a.attgenerated = '' limit 1) a
where relkind = 'r';
select * from finish();
