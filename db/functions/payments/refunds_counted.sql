-- What of a payment counts as given back already, in minor units: refunded at Stripe, on its way there, and what failed
-- (a failed refund raised an alert and is paid by hand: it is never sent again by itself).
-- Internal: granted to nobody. Locks: none. Errors: none.
create or replace function booking.refunds_counted(p_payment_id uuid)
returns bigint
language sql stable security definer
set search_path = pg_catalog, pg_temp
as $$
  select p.amount_refunded
    + coalesce((select sum(f.amount) from booking.refunds f
                where f.payment_id = p.id and f.status in ('failed', 'canceled')), 0)::bigint
    + coalesce((select sum((c.params ->> 'amount')::bigint) from booking.stripe_commands c
                where c.payment_id = p.id and c.stripe_id = p.stripe_payment_intent_id
                  and c.operation = 'create_refund' and (c.status <> 'done' or c.outcome = 'applied')
                  and not exists (select from booking.refunds f where f.command_id = c.id)), 0)::bigint
  from booking.payments p
  where p.id = p_payment_id
$$;

revoke all on function booking.refunds_counted(uuid) from public;
comment on function booking.refunds_counted(uuid) is 'Internal: what of a payment is refunded, being refunded or failed to be (minor units)';
