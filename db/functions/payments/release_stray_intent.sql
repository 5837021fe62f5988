-- A PaymentIntent that carries our metadata but is not the one we keep (a second one, or one whose payment had ended
-- before it was known): it is cancelled, or what it captured is refunded whole, and a person is told. Its money never
-- enters our books. p_captured is what it captured, in minor units, 0 while it is only a hold or less.
-- Internal: granted to nobody. Locks: outbox insert (the caller holds booking and payment). Errors: none.
create or replace function booking.release_stray_intent(p_payment_id uuid, p_stripe_id text, p_captured bigint)
returns uuid
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_operation text := case when p_captured > 0 then 'create_refund' else 'cancel_payment_intent' end;
begin
  perform booking.raise_alert('stray_payment_intent', p_stripe_id,
    jsonb_build_object('payment_id', p_payment_id, 'captured', p_captured));
  perform from booking.stripe_commands c
  where c.payment_id = p_payment_id and c.stripe_id = p_stripe_id and c.operation = v_operation
    and (c.status <> 'done' or c.outcome in ('applied', 'refused'));
  if found then
    return null;
  end if;
  -- a cancel that was never sent makes way for the refund
  update booking.stripe_commands c set status = 'done', outcome = 'superseded'
  where c.stripe_id = p_stripe_id and c.status = 'pending' and c.attempts = 0;
  return booking.queue_stripe_command(p_payment_id, v_operation, p_stripe_id, p_captured);
end
$$;

revoke all on function booking.release_stray_intent(uuid, text, bigint) from public;
comment on function booking.release_stray_intent(uuid, text, bigint) is
  'Internal: cancels or refunds a PaymentIntent that is not the one we keep';
