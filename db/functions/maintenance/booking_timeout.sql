-- How long a pending booking lives in this installation (settings.booking_timeout): what cleanup_expired_bookings() is called with.
-- Locks: none. Errors: none.
create or replace function booking.booking_timeout()
returns interval
language sql stable security definer
set search_path = pg_catalog, pg_temp
as $$ select c.booking_timeout from booking.settings c $$;

revoke all on function booking.booking_timeout() from public;
grant execute on function booking.booking_timeout() to booking_app, booking_cron, booking_dba;
comment on function booking.booking_timeout() is 'How long a pending booking lives before it is cancelled';
