-- Ends unpaid orders for which no session was ever recorded (their server died, Stripe gave no answer) once the idempotency
-- key that could continue them has lapsed (settings.idempotency_ttl). Nobody was ever told where to pay for them. At most
-- p_batch_size at once; returns how many.
-- Locks: orders ascending, skipping locked ones. Errors: PT400 invalid_request (DETAIL.field batch_size).
create or replace function booking.expire_lost_orders(p_batch_size int default 100)
returns int
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set jit = off
as $$
declare
  v_count int;
  v_now timestamptz := booking.clock();
begin
  perform booking.require_batch_size(p_batch_size);
  perform set_config('booking.actor', 'system', true);
  update booking.orders o
  set status = 'expired', closed_at = v_now
  where o.id in (
    select d.id from booking.orders d, booking.settings s
    where d.status = 'pending' and d.stripe_session_id is null and d.created_at <= v_now - s.idempotency_ttl
    order by d.created_at limit p_batch_size
    for no key update of d skip locked);
  get diagnostics v_count = row_count;
  return v_count;
end
$$;

revoke all on function booking.expire_lost_orders(int) from public;
grant execute on function booking.expire_lost_orders(int) to booking_cron;
comment on function booking.expire_lost_orders(int) is 'Ends orders that never got a session; returns how many';
