-- The virtual shard (0 to 4095) that an id of ours carries: the 12 bits after the version, see new_id().
-- Not a definer function and without settings, so that it is inlined. Locks: none. Errors: none.
create or replace function booking.shard_of(p_id uuid)
returns int
language sql immutable strict parallel safe
as $$
  select ((pg_catalog.get_byte(pg_catalog.uuid_send(p_id), 6) & 15) << 8) | pg_catalog.get_byte(pg_catalog.uuid_send(p_id), 7)
$$;

revoke all on function booking.shard_of(uuid) from public;
grant execute on function booking.shard_of(uuid) to booking_app, booking_cron, booking_dba;
comment on function booking.shard_of(uuid) is 'Virtual shard (0 to 4095) of the expert that an id belongs to';
