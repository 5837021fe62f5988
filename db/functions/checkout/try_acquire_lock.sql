-- Takes a lock for p_ttl, unless it is active: then false, also for the request that holds it. Never waits longer than
-- another call of the same key takes. A lock that lapsed is taken over and counted as lapsed, a refusal is counted too.
-- Locks: the lock's row. Errors: PT400 invalid_request (DETAIL.field: lock_key, user_id, product_id, request_id, ttl).
create or replace function booking.try_acquire_lock(
  p_lock_key text,
  p_user_id text,
  p_product_id text,
  p_request_id text,
  p_ttl interval default '10 seconds'
)
returns boolean
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set jit = off
as $$
declare
  v_field text;
begin
  select f.name into v_field
  from (values ('lock_key', p_lock_key, 1000), ('user_id', p_user_id, 255), ('product_id', p_product_id, 255),
    ('request_id', p_request_id, 255)) f (name, value, most)
  where f.value is null or length(f.value) not between 1 and f.most
  limit 1;
  if found then
    perform booking.refuse(400, 'invalid_request', jsonb_build_object('field', v_field),
      'A lock names its key (1 to 1,000 characters), user, product and request (1 to 255 each).');
  end if;
  if p_ttl is null or p_ttl <= interval '0' then
    perform booking.refuse(400, 'invalid_request', '{"field": "ttl"}', 'A lock lives for a positive interval.');
  end if;

  -- the clock is read row by row, after the wait for whoever works on the row
  with lapsed as (
    delete from booking.concurrency_locks l
    where l.lock_key = p_lock_key and l.expires_at <= booking.clock()
    returning l.acquired_at, l.expires_at
  )
  insert into booking.checkout_events (kind, held, happened_at)
  select 'lapsed', x.expires_at - x.acquired_at, x.expires_at from lapsed x;

  insert into booking.concurrency_locks (lock_key, user_id, product_id, request_id, acquired_at, expires_at)
  select p_lock_key, p_user_id, p_product_id, p_request_id, c.now, c.now + p_ttl
  from (select booking.clock() as now) c
  on conflict (lock_key) do nothing;
  if found then
    return true;
  end if;
  insert into booking.checkout_events (kind, happened_at) values ('refused', booking.clock());
  return false;
end
$$;

revoke all on function booking.try_acquire_lock(text, text, text, text, interval) from public;
grant execute on function booking.try_acquire_lock(text, text, text, text, interval) to booking_app;
comment on function booking.try_acquire_lock(text, text, text, text, interval) is
  'Takes a lock for a while; false when somebody has it';
