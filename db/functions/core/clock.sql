-- The time that every rule reads. A test replaces it inside its rolled-back transaction.
-- Wall-clock time, not the transaction's: whoever waited for a lock must judge by the time after the wait.
-- Not a definer function and without settings, so that it is inlined. Locks: none. Errors: none.
create or replace function booking.clock()
returns timestamptz
language sql volatile parallel safe
as $$ select pg_catalog.clock_timestamp() $$;

revoke all on function booking.clock() from public;
grant execute on function booking.clock() to booking_app, booking_cron, booking_dba;
comment on function booking.clock() is 'Current time (UTC instant) as every rule reads it; replaceable in tests';
