-- Whether a dispute holds the refunds of a payment back: it is open, or it was lost and the bank has taken the money already.
-- Internal: granted to nobody. Locks: none. Errors: none.
create or replace function booking.is_refund_held(p_payment_id uuid)
returns boolean
language sql stable security definer
set search_path = pg_catalog, pg_temp
as $$
  select exists (select from booking.disputes d
                 where d.payment_id = p_payment_id and d.status not in ('won', 'warning_closed', 'prevented'))
$$;

revoke all on function booking.is_refund_held(uuid) from public;
comment on function booking.is_refund_held(uuid) is 'Internal: whether an open or lost dispute holds the refunds of a payment back';
