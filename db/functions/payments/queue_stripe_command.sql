-- Writes one wish into the outbox. At most one command of a PaymentIntent is open (unique index); with one open already
-- nothing is written and null is returned. A refund carries our ids in its metadata, so that it can be found again at Stripe.
-- Internal: granted to nobody. Locks: outbox insert (the caller holds booking and payment). Errors: none.
create or replace function booking.queue_stripe_command(p_payment_id uuid, p_operation text, p_stripe_id text, p_amount bigint)
returns uuid
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_id uuid := booking.new_id(p_near => p_payment_id);
  v_now timestamptz := booking.clock();
begin
  insert into booking.stripe_commands as c (id, payment_id, operation, stripe_id, params, run_at, created_at, updated_at)
  values (v_id, p_payment_id, p_operation, p_stripe_id,
    case p_operation
      when 'create_refund' then jsonb_build_object('payment_intent', p_stripe_id, 'amount', p_amount,
        'metadata', jsonb_build_object('payment_id', p_payment_id, 'command_id', v_id))
      else '{}'::jsonb
    end,
    v_now, v_now, v_now)
  on conflict (stripe_id) where c.status in ('pending', 'running') do nothing
  returning c.id into v_id;
  return v_id;
end
$$;

revoke all on function booking.queue_stripe_command(uuid, text, text, bigint) from public;
comment on function booking.queue_stripe_command(uuid, text, text, bigint) is 'Internal: writes one wish into the outbox';
