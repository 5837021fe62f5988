-- Whether somebody holds a lock at this moment. Locks: none. Errors: none.
create or replace function booking.has_active_lock(p_lock_key text)
returns boolean
language sql stable security definer
set search_path = pg_catalog, pg_temp
as $$
  select exists (select from booking.concurrency_locks l where l.lock_key = p_lock_key and l.expires_at > booking.clock())
$$;

revoke all on function booking.has_active_lock(text) from public;
grant execute on function booking.has_active_lock(text) to booking_app;
comment on function booking.has_active_lock(text) is 'Whether somebody holds a lock at this moment';
