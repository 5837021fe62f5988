-- Gives a dead command a new life, after a person has looked at it: pending at once, attempts and key start anew
-- where they were. Resolves its alert. Locks: the command -> alert.
-- Errors: PT404 command_not_found · PT409 not_dead (DETAIL.status), command_open (another one of the PaymentIntent is open).
create or replace function booking.retry_stripe_command(p_command_id uuid, p_actor text)
returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_command booking.stripe_commands;
begin
  perform booking.require_person('actor', p_actor);
  select c.* into v_command from booking.stripe_commands c where c.id = p_command_id for no key update;
  if not found then
    perform booking.refuse(404, 'command_not_found', jsonb_build_object('command_id', p_command_id), 'Check the command''s id.');
  elsif v_command.status <> 'dead' then
    perform booking.refuse(409, 'not_dead', jsonb_build_object('command_id', p_command_id, 'status', v_command.status),
      'Only a dead command is retried by hand.');
  end if;
  perform from booking.stripe_commands c where c.stripe_id = v_command.stripe_id and c.status in ('pending', 'running');
  if found then
    perform booking.refuse(409, 'command_open', jsonb_build_object('command_id', p_command_id),
      'Another command of this PaymentIntent is open: wait until it is done.');
  end if;
  update booking.stripe_commands c set status = 'pending', run_at = booking.clock(), attempts = 1 where c.id = p_command_id;
  update booking.alerts a set resolved_at = booking.clock(), resolved_by = p_actor
  where a.kind = 'command_dead' and a.subject = p_command_id::text and a.resolved_at is null;
end
$$;

revoke all on function booking.retry_stripe_command(uuid, text) from public;
grant execute on function booking.retry_stripe_command(uuid, text) to booking_dba;
comment on function booking.retry_stripe_command(uuid, text) is 'Gives a dead Stripe command a new life, after a person has looked at it';
