-- What of a payment counts towards the policy of its booking, in minor units: what has left or is sure to leave
-- (refunds_promised), and what failed (a failed refund raised an alert and is decided by a person: it is never sent again
-- by itself; that of a request counts once, and only until the request is approved anew). Requests first approved when the
-- booking had ended do not count: they are on top of the policy.
-- Internal: granted to nobody. Locks: none. Errors: none.
create or replace function booking.refunds_counted(p_payment_id uuid)
returns bigint
language sql stable security definer
set search_path = pg_catalog, pg_temp
as $$
  select booking.refunds_promised(p.id)
    + coalesce((select sum(f.amount) from booking.refunds f
                where f.payment_id = p.id and f.status in ('failed', 'canceled')
                  and not exists (select from booking.stripe_commands c
                                  where c.id = f.command_id and c.refund_request_id is not null)), 0)::bigint
    + coalesce((select sum(case
                  when q.beyond_policy then case when q.status in ('approved', 'refunded') then -q.amount end
                  when q.status in ('pending', 'rejected')
                    and exists (select from booking.stripe_commands c join booking.refunds f on f.command_id = c.id
                                where c.payment_id = p.id and c.refund_request_id = q.id and f.status in ('failed', 'canceled'))
                    then q.amount end)
                from booking.refund_requests q where q.payment_id = p.id), 0)::bigint
  from booking.payments p
  where p.id = p_payment_id
$$;

revoke all on function booking.refunds_counted(uuid) from public;
comment on function booking.refunds_counted(uuid) is
  'Internal: what of a payment counts towards its booking''s policy: refunded, on its way or failed (minor units)';
