-- Trigger: a payment moves only along an edge of its transition table, updated_at is kept.
--   pending, requires_action, processing, failed -> each other | authorized | captured | cancelled
--   authorized -> captured | cancelled | failed
--   captured <-> partially_refunded <-> refunded, captured <-> refunded (backwards only when a refund fails)
-- Its amounts are watched by keep_payment_amounts, what it is for by keep_payment_facts, which only run when somebody sets one
-- of those columns.
-- Locks: none beyond the row. Errors: PT409 illegal_transition.
create or replace function booking.keep_payment()
returns trigger
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  -- each condition costs in every transaction: the step that is by far the most common is one short one
  if not (old.status < 'authorized' and new.status = 'authorized') and new.status <> old.status
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
  new.updated_at := booking.clock();
  return new;
end
$$;

revoke all on function booking.keep_payment() from public;
comment on function booking.keep_payment() is
  'Trigger: payments move only along the edges of their transition table';

create or replace trigger keep_payment before update on booking.payments
  for each row execute function booking.keep_payment();
