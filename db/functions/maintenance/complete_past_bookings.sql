-- Completes confirmed bookings whose slot has ended, at most p_batch_size at once. Returns how many.
-- Locks: bookings ascending, skipping locked ones. Errors: PT400 invalid_request (DETAIL.field batch_size).
create or replace function booking.complete_past_bookings(p_batch_size int default 100)
returns int
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set jit = off
as $$
declare
  v_due uuid[];
  v_count int;
  v_now timestamptz := booking.clock();
begin
  perform booking.require_batch_size(p_batch_size);
  select array_agg(d.id) into v_due from (
    select b.id from booking.bookings b
    where b.status = 'confirmed' and b.ends_at <= v_now and b.closed_at is null -- index bookings_due: of a confirmed one that is ends_at
      and case when b.confirmed_at is not null then b.ends_at else b.created_at end <= v_now
    order by case when b.confirmed_at is not null then b.ends_at else b.created_at end limit p_batch_size) d;
  with locked as (
    select b.id from booking.bookings b
    where b.id = any (v_due) and b.status = 'confirmed'
    order by b.id
    for no key update skip locked
  ), completed as (
    update booking.bookings b set status = 'completed', closed_at = v_now
    from locked l where b.id = l.id
    returning b.id, b.created_at
  ), audited as (
    insert into booking.booking_events (booking_id, from_status, to_status, actor, reason, created_at)
    select c.id, 'confirmed', 'completed', 'system', 'slot_ended', v_now from completed c
  ), counted as (
    insert into booking.stat_deltas (metric, at, quantity)
    select 'completed', date_trunc('hour', c.created_at, 'UTC'), count(*) from completed c group by 2
  )
  select count(*) into v_count from completed;
  return v_count;
end
$$;

revoke all on function booking.complete_past_bookings(int) from public;
grant execute on function booking.complete_past_bookings(int) to booking_cron;
comment on function booking.complete_past_bookings(int) is 'Completes confirmed bookings whose slot has ended; returns how many';
