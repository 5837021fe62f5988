-- uuid, version 7 layout (RFC 9562): 48 bits of Unix milliseconds, version, 12 bits rand_a, variant, 62 random bits.
-- rand_a carries the virtual shard of the expert, the first 12 bits of sha256(expert_id): an id alone says where it lives.
-- The second form makes an id in the shard of a given id (a booking in its slot's shard) and hashes nothing.
-- Not definer functions and without settings, so that they are inlined. Locks: none. Errors: none.
create or replace function booking.new_id(p_expert_id text)
returns uuid
language sql volatile parallel safe
as $$
  select pg_catalog.encode(
    pg_catalog.overlay(
      pg_catalog.uuid_send(pg_catalog.gen_random_uuid()),
      pg_catalog.substring(pg_catalog.int8send(
          pg_catalog.floor(pg_catalog.date_part('epoch', booking.clock()) * 1000)::bigint), 3)
        || pg_catalog.set_byte(
             pg_catalog.substring(pg_catalog.int4send(
               (pg_catalog.get_byte(h.hash, 0) << 4) | (pg_catalog.get_byte(h.hash, 1) >> 4)), 3),
             0, 112 | (pg_catalog.get_byte(h.hash, 0) >> 4)),
      1, 8),
    'hex')::uuid
  from (select pg_catalog.sha256(pg_catalog.convert_to(p_expert_id, 'UTF8')) as hash) h
$$;

create or replace function booking.new_id(p_near uuid)
returns uuid
language sql volatile parallel safe
as $$
  select pg_catalog.encode(
    pg_catalog.overlay(
      pg_catalog.uuid_send(pg_catalog.gen_random_uuid()),
      pg_catalog.substring(pg_catalog.int8send(
          pg_catalog.floor(pg_catalog.date_part('epoch', booking.clock()) * 1000)::bigint), 3)
        || pg_catalog.substring(pg_catalog.uuid_send(p_near), 7, 2),
      1, 8),
    'hex')::uuid
$$;

revoke all on function booking.new_id(text) from public;
revoke all on function booking.new_id(uuid) from public;
grant execute on function booking.new_id(text) to booking_app, booking_cron, booking_dba;
grant execute on function booking.new_id(uuid) to booking_app, booking_cron, booking_dba;
comment on function booking.new_id(text) is 'New time-ordered uuid (version 7) in the shard of an expert; read it back with shard_of()';
comment on function booking.new_id(uuid) is 'New time-ordered uuid (version 7) in the same shard as the given id of ours';
