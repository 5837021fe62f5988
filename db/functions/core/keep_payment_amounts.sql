-- Trigger: the amounts of a payment belong together.
--   0 <= refunded <= captured <= amount, amount > 0, captured > 0 exactly where the status says so
-- Check constraints would be parsed anew by each statement that writes (an eighth of a webhook's whole cost); the refusal is
-- that of a check constraint. Migration 0019 makes it in the transaction that drops those.
-- Locks: none beyond the row. Errors: 23514.
create or replace function booking.keep_payment_amounts()
returns trigger
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  if new.amount <= 0 or new.amount_refunded < 0 or new.amount_refunded > new.amount_captured or new.amount_captured > new.amount
    or (new.status in ('captured', 'partially_refunded', 'refunded')) <> (new.amount_captured > 0)
    or length(new.stripe_payment_intent_id) not between 1 and 255
  then
    raise exception using errcode = 'check_violation', schema = 'booking', table = 'payments', constraint = 'payments_check',
      message = 'new row for relation "payments" violates check constraint "payments_check"',
      detail = format('Failing row contains id %s, status %s, amount %s, captured %s, refunded %s.', new.id, new.status, new.amount,
        new.amount_captured, new.amount_refunded);
  end if;
  return new;
end
$$;

revoke all on function booking.keep_payment_amounts() from public;
comment on function booking.keep_payment_amounts() is 'Trigger: the amounts of a payment belong together';

create or replace trigger keep_payment_amounts
  before insert or update of status, amount, amount_captured, amount_refunded, stripe_payment_intent_id on booking.payments
  for each row execute function booking.keep_payment_amounts();
