-- Trigger: what belongs together in a Stripe command, and updated_at. As a trigger and not as check constraints, which
-- every statement would parse anew (an eighth of a confirmation's whole cost); the refusal is that of a check constraint.
-- Locks: none beyond the row. Errors: 23514.
create or replace function booking.keep_command()
returns trigger
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  -- each comparison costs in every transaction, a look for null does not: the steps that are by far the most common, a new wish,
  -- its claim and its end, have short conditions
  if tg_op = 'INSERT' and new.status = 'pending' and new.payment_id is not null and new.order_id is null and new.locked_by is null
    and new.lease_until is null and new.outcome is null
    and new.operation in ('capture_payment_intent', 'cancel_payment_intent', 'create_refund', 'expire_checkout_session')
  then
    return new;
  end if;
  if new.operation = old.operation and new.payment_id is not null and new.order_id is null
    and (new.status = 'running' and new.locked_by is not null and new.lease_until is not null and new.outcome is null
         or new.status = 'done' and new.outcome is not null and new.locked_by is null and new.lease_until is null)
  then
    new.updated_at := booking.clock();
    return new;
  end if;
  if new.operation not in ('capture_payment_intent', 'cancel_payment_intent', 'create_refund', 'expire_checkout_session')
    or (new.status = 'running') <> (num_nonnulls(new.locked_by, new.lease_until) = 2)
    or (new.status = 'done') <> (new.outcome is not null)
    or num_nonnulls(new.payment_id, new.order_id) <> 1
  then
    raise exception using errcode = 'check_violation', schema = 'booking', table = 'stripe_commands', constraint = 'stripe_commands_check',
      message = 'new row for relation "stripe_commands" violates check constraint "stripe_commands_check"',
      detail = format('Failing row contains operation %s, status %s, outcome %s.', new.operation, new.status, new.outcome);
  end if;
  if tg_op = 'UPDATE' then
    new.updated_at := booking.clock();
  end if;
  return new;
end
$$;

revoke all on function booking.keep_command() from public;
comment on function booking.keep_command() is 'Trigger: what belongs together in a Stripe command stays together';

create or replace trigger keep_command before insert or update on booking.stripe_commands
  for each row execute function booking.keep_command();
