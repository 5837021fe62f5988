-- Where the booking of a Stripe command and its payment stand; no row for a command of an order. When the payment has moved
-- on to the booking that seated its student again, it is that one.
-- Volatile, so that one statement can record what Stripe did and tell what followed from it.
-- Locks: none. Errors: none.
create or replace function booking.get_command_booking(p_command_id uuid)
returns table (
  booking_id uuid,
  status booking.booking_status,
  payment_status booking.payment_status
)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set jit = off
as $$
#variable_conflict use_column
begin
  return query
    select b.id, b.status, p.status
    from booking.stripe_commands c
    join booking.payments p on p.id = c.payment_id
    join booking.bookings b on b.id = p.booking_id
    where c.id = p_command_id;
end
$$;

revoke all on function booking.get_command_booking(uuid) from public;
grant execute on function booking.get_command_booking(uuid) to booking_app;
comment on function booking.get_command_booking(uuid) is 'Where the booking of a Stripe command and its payment stand, to be asked after recording what Stripe did';
