-- Repairs seat counters of slots that have not ended when they disagree with the bookings that hold seats there (a
-- counter nobody can account for, left by hands in the tables). Returns how many slots it repaired, with an alert each.
-- Each counter is locked before its bookings are counted: a count before the lock could be stale.
-- Locks: seat counters, ascending, skipping locked ones -> alert. Errors: none.
create or replace function booking.cleanup_orphaned_slots()
returns int
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set jit = off
as $$
declare
  v_seat record;
  v_taken int;
  v_held int;
  v_slots uuid[] := array[]::uuid[];
  v_now timestamptz := booking.clock();
begin
  for v_seat in
    select q.slot_id, q.part
    from booking.slots s
    join booking.slot_seats q on q.slot_id = s.id
    where s.ends_at > v_now
      and q.taken <> (select count(*) from booking.bookings b
                      where b.slot_id = q.slot_id and b.seat_part = q.part and b.status in ('pending', 'confirmed'))
    order by q.slot_id, q.part
  loop
    select q.taken into v_taken from booking.slot_seats q
    where q.slot_id = v_seat.slot_id and q.part = v_seat.part for no key update skip locked;
    continue when not found; -- somebody is booking there: the next run sees to it
    select count(*) into v_held from booking.bookings b
    where b.slot_id = v_seat.slot_id and b.seat_part = v_seat.part and b.status in ('pending', 'confirmed');
    if v_taken <> v_held then
      update booking.slot_seats q set taken = v_held, is_open = v_held < q.capacity
      where q.slot_id = v_seat.slot_id and q.part = v_seat.part;
      perform booking.raise_alert('seats_repaired', v_seat.slot_id::text,
        jsonb_build_object('part', v_seat.part, 'counted', v_taken, 'held', v_held));
      v_slots := v_slots || v_seat.slot_id;
    end if;
  end loop;
  -- the statistics of the hours concerned: whatever was done by hand, the sum is the rows' again
  insert into booking.stat_deltas (metric, at, quantity, amount)
  select 'seats', h.hour, rows.seated - lines.seats, rows.open - lines.open
  from (select distinct date_trunc('hour', s.starts_at, 'UTC') as hour from booking.slots s where s.id = any (v_slots)) h
  cross join lateral (
    select coalesce(sum(x.held), 0) as seated, count(*) filter (where x.parts = 1 and x.taken < x.capacity) as open
    from (
      select s.parts, s.capacity, (select sum(q.taken) from booking.slot_seats q where q.slot_id = s.id) as taken,
        (select count(*) from booking.bookings b
         where b.expert_id = s.expert_id and b.slot_id = s.id and b.status in ('pending', 'confirmed', 'completed')) as held
      from booking.slots s where s.starts_at >= h.hour and s.starts_at < h.hour + interval '1 hour') x
  ) rows
  cross join lateral (
    select coalesce(sum(l.quantity) filter (where l.metric = 'seats'), 0) as seats, coalesce(sum(l.amount), 0) as open
    from (select t.metric, t.quantity, t.amount from booking.stat_hours t where t.metric in ('slots', 'seats') and t.hour = h.hour
          union all
          select d.metric, d.quantity, d.amount from booking.stat_deltas d where d.metric in ('slots', 'seats') and date_trunc('hour', d.at, 'UTC') = h.hour) l
  ) lines
  where rows.seated <> lines.seats or rows.open <> lines.open;
  return (select count(distinct u.id) from unnest(v_slots) u (id));
end
$$;

revoke all on function booking.cleanup_orphaned_slots() from public;
grant execute on function booking.cleanup_orphaned_slots() to booking_cron;
comment on function booking.cleanup_orphaned_slots() is 'Repairs seat counters that no booking accounts for; returns how many slots';
