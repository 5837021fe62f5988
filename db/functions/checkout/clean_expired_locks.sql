-- Removes locks that have lapsed (each is counted as lapsed), at most 10,000 a call, and what the statistics of Checkout
-- kept for 30 days. Returns how many locks. Nobody waits for it: a lapsed lock is taken over without it.
-- Locks: locks and events, skipping locked ones. Errors: none.
create or replace function booking.clean_expired_locks()
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
  with lapsed as (
    delete from booking.concurrency_locks l
    where l.lock_key in (
      select d.lock_key from booking.concurrency_locks d
      where d.expires_at <= v_now
      order by d.expires_at limit 10000
      for update skip locked)
    returning l.acquired_at, l.expires_at
  )
  insert into booking.checkout_events (kind, held, happened_at)
  select 'lapsed', x.expires_at - x.acquired_at, x.expires_at from lapsed x;
  get diagnostics v_count = row_count;
  delete from booking.checkout_events e
  where e.id in (
    select d.id from booking.checkout_events d
    where d.happened_at <= v_now - interval '30 days'
    order by d.happened_at limit 10000
    for update skip locked);
  return v_count;
end
$$;

revoke all on function booking.clean_expired_locks() from public;
grant execute on function booking.clean_expired_locks() to booking_cron;
comment on function booking.clean_expired_locks() is 'Removes locks that have lapsed; returns how many';
