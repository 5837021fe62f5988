-- Trigger: what a payment is for, its PaymentIntent and what was captured are never taken back. It is bound to those columns,
-- so it costs a statement that sets none of them nothing.
-- A payment belongs to one booking; it moves on only from a hold that lapsed to the live booking that seated its student
-- again: same student, slot, price and payment.
-- Locks: none beyond the row. Errors: PT409 append_only (a fact of creation was changed).
create or replace function booking.keep_payment_facts()
returns trigger
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  -- on its own: a condition with a query in it is one, in every transaction
  if new.booking_id = old.booking_id and new.amount_captured >= old.amount_captured
    and (old.stripe_payment_intent_id is null or new.stripe_payment_intent_id = old.stripe_payment_intent_id)
    and new.id = old.id and new.amount = old.amount and new.currency = old.currency
  then
    return new;
  end if;
  if (new.id, new.amount, new.currency) is distinct from (old.id, old.amount, old.currency)
    or new.booking_id is distinct from old.booking_id
       and not exists (
         select from booking.bookings o join booking.bookings n
           on (n.student_id, n.slot_id, n.payment_id, n.amount, n.currency) = (o.student_id, o.slot_id, o.payment_id, o.amount, o.currency)
         where o.id = old.booking_id and n.id = new.booking_id and o.payment_id = old.id
           and booking.is_lapsed_hold(o) and n.status in ('pending', 'confirmed'))
    or old.stripe_payment_intent_id is not null
       and new.stripe_payment_intent_id is distinct from old.stripe_payment_intent_id
    or new.amount_captured < old.amount_captured
  then
    perform booking.refuse(409, 'append_only', jsonb_build_object('table', 'payments', 'payment_id', old.id),
      'What a payment is for, its PaymentIntent and what was captured are never taken back.');
  end if;
  return new;
end
$$;

revoke all on function booking.keep_payment_facts() from public;
comment on function booking.keep_payment_facts() is 'Trigger: what a payment is for is never taken back';

create or replace trigger keep_payment_facts
  before update of id, booking_id, amount, currency, stripe_payment_intent_id, amount_captured on booking.payments
  for each row execute function booking.keep_payment_facts();
