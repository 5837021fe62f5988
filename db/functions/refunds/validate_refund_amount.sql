-- Whether so much of a payment (minor units) could be asked for now: more than 0, a multiple of the step that Stripe
-- accepts, and no more than is left of the captured amount beside refunds, requests and what the policy still owes;
-- never while a dispute is open or lost. A refund that failed left the money with us: it may be asked for again.
-- False, too, for a payment that is not there. Changes nothing and promises nothing: request_refund() asks under a lock.
-- Locks: none. Errors: none.
create or replace function booking.validate_refund_amount(p_payment_id uuid, p_amount bigint)
returns boolean
language sql stable security definer
set search_path = pg_catalog, pg_temp
as $$
  select coalesce(
    (select p_amount > 0 and p_amount % booking.currency_step(p.currency) = 0 and p_amount <= booking.refundable_amount(p.id)
     from booking.payments p where p.id = p_payment_id), false)
$$;

revoke all on function booking.validate_refund_amount(uuid, bigint) from public;
grant execute on function booking.validate_refund_amount(uuid, bigint) to booking_app, booking_dba;
comment on function booking.validate_refund_amount(uuid, bigint) is 'Whether so much of a payment (minor units) may be asked for back now';
