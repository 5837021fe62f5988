-- Roles belong to the cluster: created when absent, never dropped by a rollback.
do $roles$
declare
  v_role text;
begin
  foreach v_role in array array['booking_owner', 'booking_app', 'booking_cron', 'booking_dba'] loop
    if not exists (select from pg_catalog.pg_roles r where r.rolname = v_role) then
      begin
        execute pg_catalog.format('create role %I nologin', v_role);
      exception when duplicate_object or unique_violation then
        null; -- another database of the cluster made it meanwhile
      end;
    end if;
  end loop;
  -- An installer without superuser rights must be able to act as the owner.
  if not pg_catalog.pg_has_role(current_user, 'booking_owner', 'USAGE') then
    execute pg_catalog.format('grant booking_owner to %I', current_user);
  end if;
end
$roles$;

create schema booking authorization booking_owner;
comment on schema booking is 'pgbooking: bookings and payments as stored functions';
grant usage on schema booking to booking_app, booking_cron, booking_dba;
