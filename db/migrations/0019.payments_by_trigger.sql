set local role booking_owner;

-- A trigger has these rules: a check constraint is parsed anew by each statement that writes. It is here at once, not only when
-- the functions are loaded: at no moment is a payment without one or the other.
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

create or replace trigger keep_payment_amounts
  before insert or update of status, amount, amount_captured, amount_refunded, stripe_payment_intent_id on booking.payments
  for each row execute function booking.keep_payment_amounts();

alter table booking.payments
  drop constraint payments_amount_check,
  drop constraint payments_stripe_payment_intent_id_check,
  drop constraint payments_check,
  drop constraint payments_check1;

reset role;
