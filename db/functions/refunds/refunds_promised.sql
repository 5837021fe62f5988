-- What of a payment has left or is sure to leave, in minor units: refunded at Stripe, on its way there (a dead command,
-- too: nobody knows), and approved requests whose command is still to come. A refund that failed is not in it: that
-- money is with us. Captured less this is what there is to promise. Null: no such payment.
-- Internal: granted to nobody. Locks: none. Errors: none.
create or replace function booking.refunds_promised(p_payment_id uuid)
returns bigint
language sql stable security definer
set search_path = pg_catalog, pg_temp
as $$
  select p.amount_refunded
    + coalesce((select sum((c.params ->> 'amount')::bigint) from booking.stripe_commands c
                where c.payment_id = p.id and c.stripe_id = p.stripe_payment_intent_id
                  and c.operation = 'create_refund' and (c.status <> 'done' or c.outcome = 'applied')
                  and not exists (select from booking.refunds f where f.command_id = c.id)), 0)::bigint
    + coalesce((select sum(q.amount) from booking.refund_requests q
                where q.payment_id = p.id and q.status = 'approved' and q.command_id is null), 0)::bigint
  from booking.payments p
  where p.id = p_payment_id
$$;

revoke all on function booking.refunds_promised(uuid) from public;
comment on function booking.refunds_promised(uuid) is 'Internal: what of a payment is refunded, on its way or approved (minor units)';
