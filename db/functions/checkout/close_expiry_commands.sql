-- Closes what still wanted an order's session ended, now that it has ended in another way (it was paid, or ran out): commands
-- that were never sent and dead ones, whose alerts are resolved. One that is being sent is left to its outcome. A session that
-- is complete while its bank has still to answer leaves the order pending: Stripe would refuse to end it, so they are refused.
-- Internal: granted to nobody. Locks: the commands -> alerts (the caller holds the order). Errors: none.
create or replace function booking.close_expiry_commands(p_order_id uuid)
returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_command record;
begin
  for v_command in
    update booking.stripe_commands c
    set status = 'done',
        outcome = (case o.status when 'pending' then 'refused' else 'superseded' end)::booking.command_outcome
    from booking.orders o
    where o.id = p_order_id and c.order_id = o.id and c.stripe_id = o.stripe_session_id
      and (c.status = 'dead' or c.status = 'pending' and c.attempts = 0)
    returning c.id
  loop
    update booking.alerts a set resolved_at = booking.clock(), resolved_by = 'stripe'
    where a.kind = 'command_dead' and a.subject = v_command.id::text and a.resolved_at is null;
  end loop;
end
$$;

revoke all on function booking.close_expiry_commands(uuid) from public;
comment on function booking.close_expiry_commands(uuid) is 'Internal: closes commands to end a session that has ended in another way';
