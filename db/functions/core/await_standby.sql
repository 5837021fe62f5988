-- Makes this commit wait for the synchronous standby, as one that writes does, for an answer that only repeats what
-- was committed before: a primary that was restarted shows commits which the standby may not have yet, and would lose
-- in a failover what it has acknowledged. Does nothing where replication is asynchronous or there is none. Internal:
-- granted to nobody.
-- Locks: none. Errors: none.
create or replace function booking.await_standby()
returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  if current_setting('synchronous_standby_names') <> '' then
    perform pg_logical_emit_message(true, 'pgbooking', '');
  end if;
end
$$;

revoke all on function booking.await_standby() from public;
comment on function booking.await_standby() is
  'Makes a commit that writes nothing wait for the synchronous standby';
