-- The Stripe idempotency key of a command: its own uuid, and from the second generation on (the first key's answer
-- is known to have changed nothing) uuid:2, uuid:3, ... Internal: granted to nobody. Not a definer function and without
-- settings, so that it is inlined. Locks: none. Errors: none.
create or replace function booking.command_key(p_command_id uuid, p_generation int)
returns text
language sql immutable parallel safe
as $$
  select p_command_id::pg_catalog.text operator(pg_catalog.||)
    case when p_generation operator(pg_catalog.>) 1 then ':' operator(pg_catalog.||) p_generation::pg_catalog.text else '' end
$$;

revoke all on function booking.command_key(uuid, int) from public;
comment on function booking.command_key(uuid, int) is 'Internal: the Stripe idempotency key of a command';
