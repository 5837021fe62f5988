-- Gives a dead command a new life, after a person has looked at it: pending at once, attempts and key start anew
-- where they were. Resolves its alert. Locks: booking -> payment -> command -> alert. Of an order: orders ascending -> command -> alert.
-- Errors: PT404 command_not_found · PT409 not_dead (DETAIL.status), command_open (another one of the PaymentIntent is open),
--   nothing_due (a refund that would give back more than is owed: DETAIL.due).
create or replace function booking.retry_stripe_command(p_command_id uuid, p_actor text)
returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set jit = off
as $$
declare
  v_command booking.stripe_commands;
  v_amount bigint;
  v_due bigint;
begin
  perform booking.require_person('actor', p_actor);
  -- whoever opens a command holds the payment, or the order
  perform booking.lock_payment((select c.payment_id from booking.stripe_commands c where c.id = p_command_id), false);
  perform booking.lock_order((select c.order_id from booking.stripe_commands c where c.id = p_command_id));
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
  if v_command.operation = 'create_refund' then
    -- somebody may have given the money back by hand meanwhile
    v_amount := (v_command.params ->> 'amount')::bigint;
    select v_amount + coalesce(case when v_command.refund_request_id is null then booking.policy_due(p.id) end,
      p.amount_captured - booking.refunds_promised(p.id))
    into v_due
    from booking.payments p
    where p.id = v_command.payment_id and p.stripe_payment_intent_id = v_command.stripe_id;
    if v_due < v_amount then
      perform booking.refuse(409, 'nothing_due', jsonb_build_object('command_id', p_command_id, 'due', greatest(0, v_due)),
        case when v_command.refund_request_id is null
          then 'The money was given back in another way: resolve the alert instead.'
          else 'The money was given back in another way: reject the refund request instead.' end);
    end if;
  end if;
  update booking.stripe_commands c set status = 'pending', run_at = booking.clock(), attempts = 1 where c.id = p_command_id;
  perform booking.audit('stripe_command.retried', p_command_id::text, p_actor,
    jsonb_strip_nulls(jsonb_build_object('payment_id', v_command.payment_id, 'order_id', v_command.order_id,
      'operation', v_command.operation)));
  update booking.alerts a set resolved_at = booking.clock(), resolved_by = p_actor
  where a.kind = 'command_dead' and a.subject = p_command_id::text and a.resolved_at is null;
end
$$;

revoke all on function booking.retry_stripe_command(uuid, text) from public;
grant execute on function booking.retry_stripe_command(uuid, text) to booking_dba;
comment on function booking.retry_stripe_command(uuid, text) is 'Gives a dead Stripe command a new life, after a person has looked at it';
