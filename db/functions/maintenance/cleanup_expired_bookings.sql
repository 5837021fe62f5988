-- Cancels pending bookings that are p_timeout old (cancelled_by system, reason expired), at most p_batch_size at once:
-- frees their seats and queues the release of their holds, or the refund of what was captured unasked. A captured booking
-- of an instant slot is confirmed instead. Rows that somebody is working on are left to the next run. Returns how many it
-- cancelled. Commit between batches: nobody waits longer than one batch.
-- Locks: seat counters ascending (skip locked) -> bookings ascending (skip locked) -> payments ascending -> outbox insert.
-- Errors: PT400 invalid_request (DETAIL.field batch_size, timeout).
create or replace function booking.cleanup_expired_bookings(p_batch_size int default 100, p_timeout interval default '30 minutes')
returns int
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set jit = off
as $$
declare
  v_due uuid[];
  v_paid uuid[];
  v_booking booking.bookings;
  v_id uuid;
  v_count int;
  v_now timestamptz := booking.clock();
  v_timeout constant interval := extract(epoch from p_timeout) * interval '1 second'; -- a day has 24 hours
begin
  perform booking.require_batch_size(p_batch_size);
  if p_timeout is null or p_timeout < interval '0' then
    perform booking.refuse(400, 'invalid_request', '{"field": "timeout"}', 'A timeout is not negative.');
  end if;

  select array_agg(d.id) into v_due from (
    select b.id from booking.bookings b
    where b.status = 'pending' and b.closed_at is null -- index bookings_due: of a pending one that is created_at
      and case when b.confirmed_at is not null then b.ends_at else b.created_at end <= v_now - v_timeout
    order by case when b.confirmed_at is not null then b.ends_at else b.created_at end limit p_batch_size) d;
  if v_due is null then
    return 0;
  end if;
  -- skip locked: a buyer may keep a counter that filled while waiting for another one, and must not wait for us then
  with seats as (
    select q.slot_id, q.part from booking.slot_seats q
    where (q.slot_id, q.part) in (select b.slot_id, b.seat_part from booking.bookings b where b.id = any (v_due))
    order by q.slot_id, q.part
    for no key update skip locked
  )
  select array_agg(b.id) into v_due
  from booking.bookings b join seats q on q.slot_id = b.slot_id and q.part = b.seat_part
  where b.id = any (v_due);
  select array_agg(l.id) into v_due from (
    select b.id from booking.bookings b
    where b.id = any (v_due) and b.status = 'pending'
    order by b.id
    for no key update skip locked) l;
  if v_due is null then
    return 0;
  end if;
  perform from booking.payments p where p.booking_id = any (v_due) order by p.id for no key update;
  v_now := booking.clock();

  select array_agg(b.id) into v_paid
  from booking.bookings b join booking.payments p on p.id = b.payment_id
  where b.id = any (v_due) and b.confirmation = 'instant' and p.amount_captured > 0;
  for v_booking in select b.* from booking.bookings b where b.id = any (v_paid) order by b.id loop
    perform booking.mark_confirmed(v_booking.id, 'system', 'paid', v_now);
  end loop;

  with cancelled as (
    update booking.bookings b
    set status = 'cancelled', cancelled_by = 'system', cancellation_reason = 'expired', refund_percent = 100, closed_at = v_now
    where b.id = any (v_due) and b.status = 'pending'
    returning b.id, b.slot_id, b.seat_part, b.created_at, b.scheduled_at
  ), freed as (
    update booking.slot_seats q set taken = q.taken - c.seats, is_open = true
    from (select x.slot_id, x.seat_part, count(*)::int as seats from cancelled x group by x.slot_id, x.seat_part) c
    where q.slot_id = c.slot_id and q.part = c.seat_part
    returning q.starts_at, c.seats, q.parts = 1 and q.taken + c.seats = q.capacity as has_opened
  ), audited as (
    insert into booking.booking_events (booking_id, from_status, to_status, actor, reason, created_at)
    select c.id, 'pending', 'cancelled', 'system', 'expired', v_now from cancelled c
  ), counted as (
    insert into booking.stat_deltas (metric, at, quantity, amount)
    select 'expired'::booking.stat_metric, date_trunc('hour', c.created_at, 'UTC'), count(*), 0
    from cancelled c group by 2
    union all
    select 'seats', date_trunc('hour', f.starts_at, 'UTC'), -sum(f.seats), count(*) filter (where f.has_opened)
    from freed f group by 2
  )
  select count(*) into v_count from cancelled;

  perform set_config('booking.actor', 'system', true);
  for v_id in
    select p.booking_id from booking.payments p where p.booking_id = any (v_due) order by p.booking_id
  loop
    perform booking.settle_payment(v_id);
  end loop;
  return v_count;
end
$$;

revoke all on function booking.cleanup_expired_bookings(int, interval) from public;
grant execute on function booking.cleanup_expired_bookings(int, interval) to booking_cron;
comment on function booking.cleanup_expired_bookings(int, interval) is
  'Cancels pending bookings older than a timeout, frees their seats and releases their holds; returns how many';
