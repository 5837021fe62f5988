-- Keeps one row a Stripe refund. Its status only moves forward (pending, requires_action, succeeded, then failed or
-- canceled, which are final), so the order of arrival never matters. A refund that failed raises an alert once.
-- Internal: granted to nobody. Locks: the refund (the caller holds the payment). Errors: none.
create or replace function booking.apply_refund(p_payment_id uuid, p_object jsonb, p_source text)
returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_status booking.refund_status := coalesce(p_object ->> 'status', 'pending')::booking.refund_status;
  v_command text := coalesce(p_object #>> '{metadata,command_id}', p_source);
begin
  insert into booking.refunds as f (stripe_refund_id, payment_id, command_id, amount, currency, status, failure_reason,
    created_at, updated_at)
  select p_object ->> 'id', p.id,
    (select c.id from booking.stripe_commands c where c.payment_id = p.id and c.id::text = v_command),
    (p_object ->> 'amount')::bigint, p.currency, v_status, p_object ->> 'failure_reason', booking.clock(), booking.clock()
  from booking.payments p where p.id = p_payment_id
  on conflict (stripe_refund_id) do update
  set status = case when f.status in ('failed', 'canceled') then f.status else greatest(f.status, excluded.status) end,
      failure_reason = coalesce(excluded.failure_reason, f.failure_reason),
      command_id = coalesce(f.command_id, excluded.command_id)
    where f.status < excluded.status and f.status not in ('failed', 'canceled')
      or f.command_id is null and excluded.command_id is not null;
  if found and v_status in ('failed', 'canceled') then
    perform booking.raise_alert('refund_failed', p_object ->> 'id', jsonb_build_object('payment_id', p_payment_id,
      'amount', (p_object ->> 'amount')::bigint, 'reason', p_object ->> 'failure_reason'));
  end if;
end
$$;

revoke all on function booking.apply_refund(uuid, jsonb, text) from public;
comment on function booking.apply_refund(uuid, jsonb, text) is 'Internal: keeps one row a Stripe refund, whose status only moves forward';
