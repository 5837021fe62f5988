-- What cancelling a live booking gives back at a moment, without changing anything: the one home of the refund rule.
-- The expert, and whoever cancels before the expert confirmed and before anything was captured: everything. Otherwise a
-- student gets the percentage of refund_policies by time to the start. refund_amount counts what is (or, for a confirmed booking, is being) captured,
-- less what was already refunded or is being refunded; before any capture the hold is released whole and no money moves: 0.
-- Internal: granted to nobody. Locks: none (the caller holds booking and payment). Errors: none.
create or replace function booking.cancellation_terms(p_booking booking.bookings, p_by_expert boolean, p_now timestamptz)
returns table (refund_percent int, refund_amount bigint)
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
  v_payment booking.payments;
  v_captured bigint;
begin
  select p.* into v_payment from booking.payments p where p.id = p_booking.payment_id;
  refund_percent := 100;
  if not p_by_expert and (p_booking.status = 'confirmed' or coalesce(v_payment.amount_captured, 0) > 0) then
    select r.percent into refund_percent from booking.refund_policies r
    where r.min_notice <= p_booking.scheduled_at - p_now
    order by r.min_notice desc limit 1;
    refund_percent := coalesce(refund_percent, 0);
  end if;

  v_captured := coalesce(v_payment.amount_captured, 0);
  if v_captured = 0 and p_booking.status = 'confirmed' and v_payment.status = 'authorized' then
    v_captured := v_payment.amount; -- its capture is on the way
  end if;
  refund_amount := greatest(0,
    booking.percent_of(v_captured, refund_percent, p_booking.currency) - coalesce(booking.refunds_counted(v_payment.id), 0));
  return next;
end
$$;

revoke all on function booking.cancellation_terms(booking.bookings, boolean, timestamptz) from public;
comment on function booking.cancellation_terms(booking.bookings, boolean, timestamptz) is
  'Internal: percentage and amount (minor units) that cancelling a live booking gives back';
