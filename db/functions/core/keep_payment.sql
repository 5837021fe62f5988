-- Trigger: a payment moves only along an edge of its transition table, its amounts belong together, updated_at is kept.
--   pending, requires_action, processing, failed -> each other | authorized | captured | cancelled
--   authorized -> captured | cancelled | failed
--   captured <-> partially_refunded <-> refunded, captured <-> refunded (backwards only when a refund fails)
--   0 <= refunded <= captured <= amount, amount > 0, captured > 0 exactly where the status says so
-- What a payment is for is watched by keep_payment_facts, which only runs when somebody sets one of those columns. Check
-- constraints would be parsed anew by each statement that writes, an eighth of a webhook's whole cost; the refusal is theirs.
-- From migration 0019 until this file is loaded keep_payment_amounts() has the amounts' rules, from then on this one has.
-- Locks: none beyond the row. Errors: PT409 illegal_transition · 23514.
create or replace function booking.keep_payment()
returns trigger
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  -- each comparison costs in every transaction: the two steps that are by far the most common have short conditions
  if old.status < 'authorized' and new.status = 'authorized' and new.amount_captured = 0 and new.amount_refunded = 0
    and new.amount = old.amount and new.stripe_payment_intent_id = old.stripe_payment_intent_id
  then
    new.updated_at := booking.clock();
    return new;
  end if;
  if old.status = 'authorized' and new.status = 'captured' and new.amount_captured = new.amount and new.amount_refunded = 0
    and new.amount = old.amount and new.stripe_payment_intent_id = old.stripe_payment_intent_id
  then
    new.updated_at := booking.clock();
    return new;
  end if;

  if new.status <> old.status
    and not (old.status in ('pending', 'requires_action', 'processing', 'failed')
             and new.status in ('pending', 'requires_action', 'processing', 'failed', 'authorized', 'captured', 'cancelled'))
    and not (old.status = 'authorized' and new.status in ('captured', 'cancelled', 'failed'))
    and not (old.status in ('captured', 'partially_refunded', 'refunded')
             and new.status in ('captured', 'partially_refunded', 'refunded'))
  then
    perform booking.refuse(409, 'illegal_transition',
      jsonb_build_object('payment_id', old.id, 'from', old.status, 'to', new.status),
      'Payments move only along the edges of their transition table.');
  end if;
  if new.amount <= 0 or new.amount_refunded < 0 or new.amount_refunded > new.amount_captured or new.amount_captured > new.amount
    or (new.status in ('captured', 'partially_refunded', 'refunded')) <> (new.amount_captured > 0)
    or length(new.stripe_payment_intent_id) not between 1 and 255
  then
    raise exception using errcode = 'check_violation', schema = 'booking', table = 'payments', constraint = 'payments_check',
      message = 'new row for relation "payments" violates check constraint "payments_check"',
      detail = format('Failing row contains id %s, status %s, amount %s, captured %s, refunded %s.', new.id, new.status, new.amount,
        new.amount_captured, new.amount_refunded);
  end if;
  if tg_op = 'UPDATE' then
    new.updated_at := booking.clock();
  end if;
  return new;
end
$$;

revoke all on function booking.keep_payment() from public;
comment on function booking.keep_payment() is
  'Trigger: payments move only along the edges of their transition table, with amounts that belong together';

create or replace trigger keep_payment before insert or update on booking.payments
  for each row execute function booking.keep_payment();
drop trigger if exists keep_payment_amounts on booking.payments;
drop function if exists booking.keep_payment_amounts();
