-- Trigger: a payment moves only along an edge of its transition table, its facts never change, updated_at is kept.
--   pending, requires_action, processing, failed -> each other | authorized | captured | cancelled
--   authorized -> captured | cancelled | failed
--   captured <-> partially_refunded <-> refunded, captured <-> refunded (backwards only when a refund fails)
-- Locks: none beyond the row. Errors: PT409 illegal_transition, PT409 append_only (a fact of creation was changed).
create or replace function booking.keep_payment()
returns trigger
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
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
  if (new.id, new.booking_id, new.amount, new.currency) is distinct from (old.id, old.booking_id, old.amount, old.currency)
    or old.stripe_payment_intent_id is not null
       and new.stripe_payment_intent_id is distinct from old.stripe_payment_intent_id
    or new.amount_captured < old.amount_captured
  then
    perform booking.refuse(409, 'append_only', jsonb_build_object('table', 'payments', 'payment_id', old.id),
      'What a payment is for, its PaymentIntent and what was captured are never taken back.');
  end if;
  new.updated_at := booking.clock();
  return new;
end
$$;

revoke all on function booking.keep_payment() from public;
comment on function booking.keep_payment() is 'Trigger: payments move only along the edges of their transition table';

create or replace trigger keep_payment before update on booking.payments
  for each row execute function booking.keep_payment();
