-- The four roles: none can log in, none has a right beyond its own.
select * from no_plan();
select is_empty(format($$ select rolname from pg_roles where rolname = %L
    and (rolcanlogin or rolsuper or rolcreatedb or rolcreaterole or rolreplication or rolbypassrls) $$, role), role || ' cannot log in and has no power of its own')
from unnest(array['booking_owner', 'booking_app', 'booking_cron', 'booking_dba']) role;
select is((select count(*) from pg_roles where rolname in ('booking_owner', 'booking_app', 'booking_cron', 'booking_dba')), 4::bigint, 'all four are there');
select is_empty($$ select m.roleid::regrole from pg_auth_members m 
  where m.member::regrole::text in ('booking_owner', 'booking_app', 'booking_cron', 'booking_dba') $$, 'none is a member of another role');
select is(nspowner::regrole::text, 'booking_owner', 'the schema is the owner''s') from pg_namespace where nspname = 'booking';
select is(has_schema_privilege(role, 'booking', 'usage'), true, role || ' may look into the schema') from unnest(array['booking_app', 'booking_cron', 'booking_dba']) role;
select is(has_schema_privilege(role, 'booking', 'create'), false, role || ' may make nothing in it') from unnest(array['booking_app', 'booking_cron', 'booking_dba']) role;
select is_empty($$ select from pg_namespace n, aclexplode(n.nspacl) a where n.nspname = 'booking' and a.grantee = 0 $$, 'it is closed to everybody else');
select is_empty($$ select defaclobjtype from pg_default_acl where defaclnamespace = 'booking'::regnamespace $$, 'no default privileges that would open what is added later');
select is_empty($$ select rolname, rolconfig from pg_roles where rolname like 'booking\_%' and rolconfig is not null $$,
  'settings on a group role would reach nobody: there are none');
select * from finish();
