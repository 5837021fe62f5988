-- Whether this database can serve, for a readiness probe: what the newest migration creates is there, and how the outbox
-- stands. Cheap: partial indexes only. Locks: none. Errors: none.
create or replace function booking.get_readiness()
returns table (schema_ok boolean, commands_pending bigint, commands_dead bigint, oldest_pending_seconds bigint)
language sql stable security definer
set search_path = pg_catalog, pg_temp
as $$
  select to_regclass('booking.bookings_due') is not null,
    (select count(*) from booking.stripe_commands c where c.status in ('pending', 'running')),
    (select count(*) from booking.stripe_commands c where c.status = 'dead'),
    (select coalesce(extract(epoch from booking.clock() - min(c.created_at)), 0)::bigint
     from booking.stripe_commands c where c.status in ('pending', 'running'))
$$;

revoke all on function booking.get_readiness() from public;
grant execute on function booking.get_readiness() to booking_app, booking_dba;
comment on function booking.get_readiness() is 'Whether this database can serve, and how the outbox stands (seconds)';
