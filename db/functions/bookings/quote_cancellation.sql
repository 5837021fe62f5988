-- What cancelling now would give the student back; changes nothing. See cancel_booking_transaction for the rule.
-- Locks: none.
-- Errors: PT403 not_your_booking · PT404 booking_not_found · PT409 already_processed (DETAIL.status).
create or replace function booking.quote_cancellation(p_actor_id text, p_booking_id uuid)
returns table (refund_percent int, refund_amount bigint, currency text)
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set jit = off
as $$
#variable_conflict use_column
declare
  v_booking booking.bookings;
  v_party text;
begin
  select b.* into v_booking from booking.bookings b where b.id = p_booking_id;
  v_party := booking.party_of(v_booking, p_booking_id, p_actor_id);
  if v_booking.status not in ('pending', 'confirmed') then
    perform booking.refuse(409, 'already_processed', jsonb_build_object('booking_id', p_booking_id, 'status', v_booking.status),
      'Only a pending or confirmed booking can be cancelled.');
  end if;
  return query
    select t.refund_percent, t.refund_amount, v_booking.currency::text
    from booking.cancellation_terms(v_booking, v_party = 'expert', booking.clock()) t;
end
$$;

revoke all on function booking.quote_cancellation(text, uuid) from public;
grant execute on function booking.quote_cancellation(text, uuid) to booking_app;
comment on function booking.quote_cancellation(text, uuid) is
  'What cancelling a live booking now would give back (percent, minor units); changes nothing';
