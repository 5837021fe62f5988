-- The short way of the most common answer to a command: the whole hold of a confirmed booking was captured. Does what
-- apply_stripe_object() and settle_payment() would, where nothing but the payment, the ledger and the statistics have to
-- follow, and else nothing: false, and the long way decides.
-- It is for: the PaymentIntent that we know, of an authorized payment, for which Stripe has told of no refund yet and no
-- command is dead. Nothing was captured before, so there is no ledger, no invoice and no refund request either.
-- Internal: granted to nobody. Locks: booking -> payment. Errors: none.
create or replace function booking.apply_capture(p_payment_id uuid, p_intent jsonb, p_source text)
returns boolean
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_booking_id uuid;
  v_expert_id text;
  v_amount bigint;
  v_currency text;
  v_now timestamptz;
begin
  select b.id, b.expert_id into v_booking_id, v_expert_id
  from booking.payments p join booking.bookings b on b.id = p.booking_id
  where p.id = p_payment_id and b.status = 'confirmed'
  for no key update of b;
  if not found then
    return false;
  end if;
  update booking.payments p
  set status = 'captured', amount_captured = p.amount, stripe_charge_id = coalesce(p.stripe_charge_id, p_intent ->> 'latest_charge')
  where p.id = p_payment_id and p.booking_id = v_booking_id and p.status = 'authorized' and p.charge_refunded = 0
    and p.stripe_payment_intent_id = p_intent ->> 'id' and p.currency = lower(p_intent ->> 'currency')
    and p_intent ->> 'object' = 'payment_intent' and p_intent ->> 'status' = 'succeeded'
    and p_intent ->> 'amount_received' = p.amount::text and jsonb_typeof(p_intent -> 'latest_charge') = 'string'
    and not exists (select from booking.refunds f where f.payment_id = p_payment_id)
    and not exists (select from booking.stripe_commands c where c.payment_id = p_payment_id and c.status = 'dead')
  returning p.amount_captured, p.currency, booking.clock() into v_amount, v_currency, v_now;
  if not found then
    return false;
  end if;
  insert into booking.transfers (payment_id, kind, debit_account, credit_account, amount, currency, source, created_at)
  values (p_payment_id, 'capture', 'stripe', 'expert:' || v_expert_id, v_amount, v_currency, p_source, v_now);
  insert into booking.stat_deltas (metric, at, currency, quantity, amount)
  values ('captured', v_now, v_currency, 1, v_amount);
  return true;
end
$$;

revoke all on function booking.apply_capture(uuid, jsonb, text) from public;
comment on function booking.apply_capture(uuid, jsonb, text) is
  'Internal: the short way of a hold that was captured whole; false where it does not apply';
