-- Keeps one row a Stripe refund. Its status only moves forward (pending, requires_action, succeeded, then failed or
-- canceled, which are final), so the order of arrival never matters. A refund that failed raises an alert once. The request
-- that it was made for follows it. Where the command that it was made by is unknown here, as after a restore to an earlier
-- moment, a person is told once that the request has its money.
-- Internal: granted to nobody. Locks: the refund -> the request -> alert (the caller holds the payment). Errors: none.
create or replace function booking.apply_refund(p_payment_id uuid, p_object jsonb, p_source text)
returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_status booking.refund_status := coalesce(p_object ->> 'status', 'pending')::booking.refund_status;
  v_command text := coalesce(p_object #>> '{metadata,command_id}', p_source);
  v_is_news boolean;
  v_is_first boolean;
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
      or f.command_id is null and excluded.command_id is not null
  returning f.xmax = 0 and f.command_id is null into v_is_first;
  v_is_news := found;
  if v_is_news then
    perform booking.follow_refund(p_object ->> 'id');
  end if;
  if v_is_news and v_status in ('failed', 'canceled') then
    perform booking.raise_alert('refund_failed', p_object ->> 'id', jsonb_build_object('payment_id', p_payment_id,
      'amount', (p_object ->> 'amount')::bigint, 'reason', p_object ->> 'failure_reason')
      || coalesce((select jsonb_build_object('request_id', c.refund_request_id)
                   from booking.refunds f join booking.stripe_commands c on c.id = f.command_id
                   where f.stripe_refund_id = p_object ->> 'id' and c.refund_request_id is not null), '{}'));
  elsif v_is_first and p_object #>> '{metadata,request_id}' is not null then
    perform booking.raise_alert('refund_unexpected', p_object ->> 'id', jsonb_strip_nulls(jsonb_build_object('payment_id', p_payment_id,
      'request_id', p_object #>> '{metadata,request_id}', 'amount', (p_object ->> 'amount')::bigint,
      'status', (select q.status from booking.refund_requests q
                 where q.payment_id = p_payment_id and q.id::text = p_object #>> '{metadata,request_id}'))));
  end if;
end
$$;

revoke all on function booking.apply_refund(uuid, jsonb, text) from public;
comment on function booking.apply_refund(uuid, jsonb, text) is 'Internal: keeps one row a Stripe refund, whose status only moves forward';
