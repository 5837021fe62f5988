-- Writes the row of a payment that Stripe knows and we do not, though its booking is here: the database was restored to a
-- moment between the two (or a standby took over that had not received the second). Found by metadata.booking_id, and only
-- when metadata.payment_id is the one that the booking was given. Returns the payment's id, null for what is not ours.
-- Internal: granted to nobody. Locks: seat counter -> booking -> payment. Errors: none.
create or replace function booking.revive_payment(p_object jsonb)
returns uuid
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_uuid constant text := '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$';
  v_booking booking.bookings;
  v_now timestamptz;
begin
  if coalesce(p_object #>> '{metadata,booking_id}', '') !~* v_uuid
    or coalesce(p_object #>> '{metadata,payment_id}', '') !~* v_uuid
  then
    return null;
  end if;
  perform from booking.bookings b
  where b.id = (p_object #>> '{metadata,booking_id}')::uuid and b.payment_id = (p_object #>> '{metadata,payment_id}')::uuid;
  if not found then
    return null;
  end if;
  v_booking := booking.lock_booking((p_object #>> '{metadata,booking_id}')::uuid, true);
  v_now := booking.clock();
  insert into booking.payments (id, booking_id, amount, currency, created_at, updated_at)
  values (v_booking.payment_id, v_booking.id, v_booking.amount, v_booking.currency, v_now, v_now)
  on conflict do nothing;
  return v_booking.payment_id;
end
$$;

revoke all on function booking.revive_payment(jsonb) from public;
comment on function booking.revive_payment(jsonb) is 'Internal: writes the row of a payment that Stripe knows and a restored database does not';
