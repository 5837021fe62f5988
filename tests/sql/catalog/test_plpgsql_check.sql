-- pytest.mark.pg15
-- plpgsql_check finds nothing in any function, present and future; trigger functions are checked with each of their tables.
select * from no_plan();
create temp table checked as
select p.oid, p.oid::regprocedure as signature, t.tgrelid as relation, t.old_table, t.new_table
from pg_proc p join pg_language l on l.oid = p.prolang left join (
  select tgfoid, tgrelid, max(tgoldtable) as old_table, max(tgnewtable) as new_table from pg_trigger where not tgisinternal group by 1, 2) t on t.tgfoid = p.oid
where p.pronamespace = 'booking'::regnamespace and l.lanname = 'plpgsql';
select cmp_ok((select count(distinct oid) from checked), '>', 40::bigint, 'there are functions to check');
select is_empty($$ select signature from checked where signature::text in (select p.oid::regprocedure::text from pg_proc p where p.prorettype = 'trigger'::regtype) and relation is null $$,
  'every trigger function has a table');
select is((select string_agg(concat_ws(' ', f.lineno, f.statement, f.level, f.sqlstate, f.message, f.detail, f.hint), '; ')
           from plpgsql_check_function_tb(c.oid::regprocedure, coalesce(c.relation, 0)::regclass, fatal_errors => false, oldtable => c.old_table, newtable => c.new_table, other_warnings => true,
             extra_warnings => true, performance_warnings => false, security_warnings => true, compatibility_warnings => true) f),
  null, signature || coalesce(' on ' || relation::regclass, '')) from checked c order by 1;
select * from finish();
