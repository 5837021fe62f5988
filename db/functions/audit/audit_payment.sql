-- Trigger: a payment that is new, or whose status, amounts, PaymentIntent or booking changed, leaves an audit row, whoever did
-- it. As audit_status() for one table, in one statement: it runs in every payment's step.
-- Locks: none. Errors: none.
create or replace function booking.audit_payment()
returns trigger
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  if old.status = new.status then -- on its own: each comparison costs in every transaction
    if (old.amount_captured, old.amount_refunded, old.stripe_payment_intent_id, old.booking_id)
      is not distinct from (new.amount_captured, new.amount_refunded, new.stripe_payment_intent_id, new.booking_id)
    then
      return null;
    end if;
  end if;
  insert into booking.audit_log (created_at, actor, action, subject, request_id, detail)
  values (booking.clock(), coalesce(nullif(current_setting('booking.actor', true), ''), session_user), 'payment.' || new.status, new.id,
    nullif(current_setting('booking.request_id', true), ''),
    case tg_op
      when 'INSERT' then jsonb_build_object('booking_id', new.booking_id, 'amount', new.amount, 'currency', new.currency)
      else jsonb_strip_nulls(jsonb_build_object('booking_id', new.booking_id, 'amount_captured', new.amount_captured,
        'amount_refunded', new.amount_refunded, 'currency', new.currency, 'stripe_payment_intent_id', new.stripe_payment_intent_id,
        'from', old.status))
    end);
  return null;
end
$$;

revoke all on function booking.audit_payment() from public;
comment on function booking.audit_payment() is 'Trigger: a payment''s step leaves an audit row';

create or replace trigger audit_insert after insert on booking.payments
  for each row execute function booking.audit_payment();
create or replace trigger audit_update
  after update of status, amount_captured, amount_refunded, stripe_payment_intent_id, booking_id on booking.payments
  for each row execute function booking.audit_payment();
