-- Deletes clients' idempotency keys past their life, at most 10,000 a call. Returns how many.
-- Locks: keys, skipping locked ones. Errors: none.
create or replace function booking.clean_expired_idempotency_keys()
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
  delete from booking.client_idempotency k
  where (k.scope, k.user_id, k.idempotency_key) in (
    select d.scope, d.user_id, d.idempotency_key from booking.client_idempotency d
    where d.expires_at <= v_now
    order by d.expires_at limit 10000
    for update skip locked);
  get diagnostics v_count = row_count;
  return v_count;
end
$$;

revoke all on function booking.clean_expired_idempotency_keys() from public;
grant execute on function booking.clean_expired_idempotency_keys() to booking_cron;
comment on function booking.clean_expired_idempotency_keys() is 'Deletes idempotency keys past their life; returns how many';
