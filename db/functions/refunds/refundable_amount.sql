-- What of a payment may still be asked for, in minor units: captured, less what has left or is sure to leave, less what
-- other requests ask for, less what the policy of an ended booking still owes. 0 while a dispute is open or lost.
-- p_request_id: a pending request that shall not stand in its own way. Null: no such payment.
-- Internal: granted to nobody. Locks: none (the caller holds booking and payment). Errors: none.
create or replace function booking.refundable_amount(p_payment_id uuid, p_request_id uuid default null)
returns bigint
language sql stable security definer
set search_path = pg_catalog, pg_temp
as $$
  select case when booking.is_refund_held(p.id) then 0 else greatest(0,
      p.amount_captured - booking.refunds_promised(p.id)
      - coalesce((select sum(q.amount) from booking.refund_requests q
                  where q.payment_id = p.id and q.status = 'pending' and q.id is distinct from p_request_id), 0)::bigint
      - greatest(0, coalesce(booking.policy_due(p.id), 0)))
    end
  from booking.payments p
  where p.id = p_payment_id
$$;

revoke all on function booking.refundable_amount(uuid, uuid) from public;
comment on function booking.refundable_amount(uuid, uuid) is 'Internal: what of a payment may still be asked for (minor units)';
