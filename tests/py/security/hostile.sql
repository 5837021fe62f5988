-- A caller's schema that lies in wait: it comes first on his search_path, and stands in for what functions use. Each trap
-- does what the real thing does, and warns when it is reached with the rights of booking_owner: then a function of
-- ours looked for a name along the caller's path.
create schema hostile;
grant usage on schema hostile to public;

create function hostile.spring(p_trap text) returns text language plpgsql set search_path = pg_catalog
as $$
declare
  v_stack text;
begin
  -- a test that acts as the owner himself has set his role
  if current_user = 'booking_owner' and current_setting('role') <> 'booking_owner' then
    get diagnostics v_stack = pg_context;
    if current_setting('hostile.first', true) = 'is enough' then
      raise exception 'hijacked: % (%)', p_trap, v_stack using errcode = 'assert_failure'; -- which "when others" does not catch
    end if;
    raise warning 'hijacked: % (%)', p_trap, v_stack;
  end if;
  return null;
end
$$;

do $$
declare
  v_function record;
  v_operator record;
  v_args text;
begin
  -- what the bodies of our functions call, by every signature that a function in plpgsql can have
  for v_function in
    select p.oid, p.proname, p.pronargs, p.provolatile, p.proisstrict, p.prorettype,
      array(select format_type(t, null) from unnest(p.proargtypes::oid[]) with ordinality u (t, n) order by n) as types
    from pg_catalog.pg_proc p
    where p.pronamespace = 'pg_catalog'::regnamespace and p.prokind = 'f' and not p.proretset and p.provariadic = 0
      and p.proname in (
        select (regexp_matches(o.prosrc, '([a-z_0-9]+)\(', 'g'))[1] from pg_catalog.pg_proc o
        where o.pronamespace = 'booking'::regnamespace)
      and not exists (
        select from unnest(p.proargtypes::oid[] || p.prorettype) t join pg_catalog.pg_type y on y.oid = t where y.typtype = 'p')
  loop
    select string_agg('$' || n, ', ') into v_args from generate_series(1, v_function.pronargs) n;
    execute format('create function hostile.%I(%s) returns %s language plpgsql %s set search_path = pg_catalog as %L',
      v_function.proname, array_to_string(v_function.types, ', '), format_type(v_function.prorettype, null),
      case v_function.provolatile when 'i' then 'immutable' when 's' then 'stable' else 'volatile' end,
      format('begin perform hostile.spring(%L); return pg_catalog.%I(%s); end', 'function ' || v_function.proname,
        v_function.proname, coalesce(v_args, '')));
  end loop;

  for v_operator in
    select o.oprname, o.oprcode::regproc as code, format_type(o.oprleft, null) as lhs, format_type(o.oprright, null) as rhs,
      format_type(o.oprresult, null) as result, row_number() over () as n
    from pg_catalog.pg_operator o
    where o.oprnamespace = 'pg_catalog'::regnamespace and o.oprkind = 'b'
      and array[o.oprleft, o.oprright]::regtype[] <@ array['text', 'int', 'bigint', 'smallint', 'uuid', 'timestamptz',
        'interval', 'jsonb', 'boolean', 'bytea', 'char', 'numeric', 'double precision', 'date', '"char"', 'name',
        'box', 'point', 'bpchar', 'text[]']::regtype[]
  loop
    execute format('create function hostile.operator_%s(%s, %s) returns %s language plpgsql immutable strict'
      ' set search_path = pg_catalog as %L', v_operator.n, v_operator.lhs, v_operator.rhs, v_operator.result,
      format('begin perform hostile.spring(%L); return $1 operator(pg_catalog.%s) $2; end', 'operator ' || v_operator.oprname,
        v_operator.oprname));
    execute format('create operator hostile.%s (leftarg = %s, rightarg = %s, function = hostile.operator_%s)',
      v_operator.oprname, v_operator.lhs, v_operator.rhs, v_operator.n);
  end loop;
end
$$;

-- Called in each session: temporary relations and types with the names of ours.
create function hostile.set_traps() returns void language plpgsql
as $$
declare
  v_name text;
begin
  for v_name in
    select c.relname from pg_catalog.pg_class c where c.relnamespace = 'booking'::regnamespace and c.relkind = 'r'
  loop
    execute format('create temp view %I as select hostile.spring(%L)', v_name, 'table ' || v_name);
    execute format('grant all on pg_temp.%I to public', v_name);
  end loop;
  for v_name in
    select t.typname from pg_catalog.pg_type t where t.typnamespace = 'booking'::regnamespace and t.typtype = 'e'
  loop
    execute format('create domain pg_temp.%I as text check (hostile.spring(%L) is null)', v_name, 'type ' || v_name);
  end loop;
end
$$;
