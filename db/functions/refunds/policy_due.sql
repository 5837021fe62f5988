-- What the policy of a booking that has ended still owes, in minor units: its percentage of the captured amount, less what
-- counts as given back already, and never more than is left. Not above zero: nothing. Null: the booking is alive.
-- Internal: granted to nobody. Locks: none. Errors: none.
create or replace function booking.policy_due(p_payment_id uuid)
returns bigint
language sql stable security definer
set search_path = pg_catalog, pg_temp
as $$
  select least(booking.percent_of(p.amount_captured, b.refund_percent, p.currency) - booking.refunds_counted(p.id),
    p.amount_captured - booking.refunds_promised(p.id))
  from booking.payments p join booking.bookings b on b.id = p.booking_id
  where p.id = p_payment_id and b.status in ('declined', 'cancelled')
$$;

revoke all on function booking.policy_due(uuid) from public;
comment on function booking.policy_due(uuid) is 'Internal: what the policy of a booking that has ended still owes (minor units)';
