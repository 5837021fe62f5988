-- The Stripe idempotency key of a command: its own uuid, and from the second generation on (the first key's answer
-- is known to have changed nothing) uuid:2, uuid:3, ... Internal: granted to nobody. Locks: none. Errors: none.
create or replace function booking.command_key(p_command_id uuid, p_generation int)
returns text
language sql immutable strict parallel safe security definer
set search_path = pg_catalog, pg_temp
as $$ select p_command_id::text || case when p_generation > 1 then ':' || p_generation else '' end $$;

revoke all on function booking.command_key(uuid, int) from public;
comment on function booking.command_key(uuid, int) is 'Internal: the Stripe idempotency key of a command';
