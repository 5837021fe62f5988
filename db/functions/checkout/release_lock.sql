-- Gives a lock back that this request holds. False: the request does not hold it (any more); nothing changes then, except
-- that a lock of its own that has lapsed is removed and counted as lapsed.
-- Locks: the lock's row. Errors: none.
create or replace function booking.release_lock(p_lock_key text, p_request_id text)
returns boolean
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set jit = off
as $$
declare
  v_lock booking.concurrency_locks;
  v_now timestamptz;
begin
  delete from booking.concurrency_locks l
  where l.lock_key = p_lock_key and l.request_id = p_request_id
  returning l.* into v_lock;
  if not found then
    return false;
  end if;
  v_now := booking.clock();
  if v_lock.expires_at <= v_now then
    insert into booking.checkout_events (kind, held, happened_at)
    values ('lapsed', v_lock.expires_at - v_lock.acquired_at, v_lock.expires_at);
    return false;
  end if;
  insert into booking.checkout_events (kind, held, happened_at)
  values ('released', greatest(interval '0', v_now - v_lock.acquired_at), v_now);
  return true;
end
$$;

revoke all on function booking.release_lock(text, text) from public;
grant execute on function booking.release_lock(text, text) to booking_app;
comment on function booking.release_lock(text, text) is 'Gives back a lock that this request holds; false when it does not hold it';
