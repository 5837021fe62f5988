-- The figures of the business in one row, exact at the moment of the call and at flat cost: sums over months, days and
-- hours plus the lines not folded yet. The window rounds outwards to UTC hours: bookings count by the hour they were created, money and
-- webhook events by the hour it happened. Slots, seats, failures and commands are the present state, whatever the window.
--   confirmed: confirmed now; cancelled: without the expired; confirmation_rate: share (0 to 1) of the window's bookings
--   that an expert or a payment ever confirmed; avg_confirmation_time: from creation to confirmation; captured_amounts,
--   refunded_amounts: {"usd": minor units}; open_slots: in the future with a seat left; oldest_pending_command: its age.
-- One plan for all windows: planning took longer than reading.
-- Locks: none (where it may write it folds lines first when many wait: see roll_up_stats).
-- Errors: PT400 invalid_request (DETAIL.field to).
create or replace function booking.get_booking_stats(p_from timestamptz default null, p_to timestamptz default null)
returns table (
  total_bookings bigint,
  pending bigint,
  confirmed bigint,
  declined bigint,
  cancelled bigint,
  expired bigint,
  completed bigint,
  confirmation_rate numeric,
  avg_confirmation_time interval,
  captured_amounts jsonb,
  refunded_amounts jsonb,
  open_slots bigint,
  seats_total bigint,
  seats_taken bigint,
  webhook_events bigint,
  webhook_failures bigint,
  commands_pending bigint,
  commands_dead bigint,
  oldest_pending_command interval
)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_column
declare
  v_from timestamptz := date_trunc('hour', p_from, 'UTC');
  v_to timestamptz := date_trunc('hour', p_to + interval '1 hour' - interval '1 microsecond', 'UTC');
  v_now timestamptz := booking.clock();
  v_hour timestamptz := date_trunc('hour', v_now, 'UTC');
  v_ever bigint;
  v_waited bigint;
begin
  if p_to < p_from then
    perform booking.refuse(400, 'invalid_request', '{"field": "to"}', 'The window ends before it begins.');
  end if;
  if current_setting('transaction_read_only') = 'off' then
    perform from booking.stat_deltas offset 2000 limit 1;
    if found then
      while booking.roll_up_stats() = 20000 loop
        null;
      end loop;
    end if;
  end if;

  -- a window is read as hours at its ends, whole days next to them and whole months in between
  with windows as (
    select n.use, n.since, n.till from (values
      ('asked', coalesce(v_from, '-infinity'), coalesce(v_to, 'infinity')),
      ('ahead', v_hour + interval '1 hour', 'infinity'),
      ('ever', '-infinity', 'infinity')) n (use, since, till)
  ), whole_days as (
    select w.use, w.since, w.till, a.since as day_since, greatest(date_trunc('day', w.till, 'UTC'), a.since) as day_till
    from windows w
    cross join lateral (
      select least(date_trunc('day', w.since + interval '24 hours' - interval '1 microsecond', 'UTC'), w.till) as since) a
  ), whole_months as materialized (
    select d.use, d.since, d.till, d.day_since, d.day_till, b.since as month_since,
      greatest(date_trunc('month', d.day_till, 'UTC'), b.since) as month_till
    from whole_days d
    cross join lateral (select date_trunc('month', d.day_since, 'UTC') as at) m
    cross join lateral (
      select least(case when m.at = d.day_since then m.at
        else (m.at at time zone 'UTC' + interval '1 month') at time zone 'UTC' end, d.day_till) as since) b
  ), lines as (
    select m.use, l.metric, l.currency, l.quantity, l.amount
    from whole_months m
    cross join lateral (
      select h.metric, h.currency, h.quantity, h.amount from booking.stat_hours h where h.hour >= m.since and h.hour < m.day_since
      union all
      select h.metric, h.currency, h.quantity, h.amount from booking.stat_hours h where h.hour >= m.day_till and h.hour < m.till
      union all
      select p.metric, p.currency, p.quantity, p.amount from booking.stat_periods p
      where p.period = 'day' and p.begins_at >= m.day_since and p.begins_at < m.month_since
      union all
      select p.metric, p.currency, p.quantity, p.amount from booking.stat_periods p
      where p.period = 'day' and p.begins_at >= m.month_till and p.begins_at < m.day_till
      union all
      select p.metric, p.currency, p.quantity, p.amount from booking.stat_periods p
      where p.period = 'month' and p.begins_at >= m.month_since and p.begins_at < m.month_till
    ) l
    union all
    select w.use, d.metric, d.currency, d.quantity, d.amount
    from booking.stat_deltas d join windows w on d.at >= w.since and d.at < w.till
  ), windowed as (
    select l.metric, l.currency, sum(l.quantity) as quantity, sum(l.amount) as amount
    from lines l
    where l.use = 'asked' and l.metric not in ('slots', 'seats')
    group by l.metric, l.currency
  ), present as (
    select coalesce(sum(l.quantity) filter (where l.use = 'ever' and l.metric = 'slots'), 0) as seats_total,
      coalesce(sum(l.quantity) filter (where l.use = 'ever' and l.metric = 'seats'), 0) as seats_taken,
      coalesce(sum(l.amount) filter (where l.use = 'ahead'), 0) as open_later
    from lines l where l.metric in ('slots', 'seats')
  ), sums as (
    select
      coalesce(sum(w.quantity) filter (where w.metric = 'booked'), 0) as booked,
      coalesce(sum(w.quantity) filter (where w.metric = 'confirmed'), 0) as ever_confirmed,
      coalesce(sum(w.amount) filter (where w.metric = 'confirmed'), 0) as waited,
      coalesce(sum(w.quantity) filter (where w.metric = 'declined'), 0) as declined,
      coalesce(sum(w.quantity) filter (where w.metric = 'cancelled'), 0) as cancelled_before,
      coalesce(sum(w.quantity) filter (where w.metric = 'cancelled_after_confirmation'), 0) as cancelled_after,
      coalesce(sum(w.quantity) filter (where w.metric = 'expired'), 0) as expired,
      coalesce(sum(w.quantity) filter (where w.metric = 'completed'), 0) as completed,
      coalesce(sum(w.quantity) filter (where w.metric = 'webhooks'), 0) as webhooks,
      coalesce(jsonb_object_agg(w.currency, w.amount) filter (where w.metric = 'captured'), '{}') as captured,
      coalesce(jsonb_object_agg(w.currency, w.amount) filter (where w.metric = 'refunded'), '{}') as refunded
    from windowed w
  )
  select s.booked, s.booked - s.ever_confirmed - s.declined - s.cancelled_before - s.expired,
    s.ever_confirmed - s.cancelled_after - s.completed, s.declined, s.cancelled_before + s.cancelled_after,
    s.expired, s.completed, s.ever_confirmed, s.waited, s.captured, s.refunded,
    r.open_later
      -- the hour that has begun: look which of its slots are still ahead
      + (select count(*) from booking.slot_seats q
         where q.is_open and q.parts = 1 and q.starts_at > v_now and q.starts_at < v_hour + interval '1 hour')
      + (select count(*) from booking.slots c
         where c.parts > 1 and c.starts_at > v_now
           and exists (select from booking.slot_seats q where q.slot_id = c.id and q.is_open)),
    r.seats_total, r.seats_taken, s.webhooks
  into total_bookings, pending, confirmed, declined, cancelled, expired, completed, v_ever, v_waited,
    captured_amounts, refunded_amounts, open_slots, seats_total, seats_taken, webhook_events
  from sums s cross join present r;

  confirmation_rate := round(v_ever::numeric / nullif(total_bookings, 0), 4);
  avg_confirmation_time := case when v_ever > 0 then v_waited / v_ever * interval '1 microsecond' end;
  select count(*) into webhook_failures from booking.webhook_events w where w.status = 'failed';
  select count(*), v_now - min(c.created_at) into commands_pending, oldest_pending_command
  from booking.stripe_commands c where c.status in ('pending', 'running');
  select count(*) into commands_dead from booking.stripe_commands c where c.status = 'dead';
  return next;
end
$$;

revoke all on function booking.get_booking_stats(timestamptz, timestamptz) from public;
grant execute on function booking.get_booking_stats(timestamptz, timestamptz) to booking_app, booking_dba;
comment on function booking.get_booking_stats(timestamptz, timestamptz) is
  'The figures of the business in one row, by UTC hours; amounts in minor units by currency';
