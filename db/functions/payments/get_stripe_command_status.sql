-- Where a command stands; null when there is no such command. Locks: none. Errors: none.
create or replace function booking.get_stripe_command_status(p_command_id uuid)
returns booking.command_status
language sql stable security definer
set search_path = pg_catalog, pg_temp
as $$ select c.status from booking.stripe_commands c where c.id = p_command_id $$;

revoke all on function booking.get_stripe_command_status(uuid) from public;
grant execute on function booking.get_stripe_command_status(uuid) to booking_app;
comment on function booking.get_stripe_command_status(uuid) is 'Where a Stripe command stands: pending, running, done or dead';
