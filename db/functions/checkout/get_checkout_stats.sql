-- How Checkout went between p_from (inclusive) and p_to (exclusive), null being unbounded; what locks did is kept for 30 days.
-- locks_taken: all that ended in the window (locks_released and locks_lapsed) and those that are held now and began in it.
-- Durations are how long locks were held. locks_refused: requests that were turned away because another one was at work;
-- keys_repeated: requests with a key that was known. Orders count by their creation; amounts are minor units by currency.
-- Locks: none. Errors: none.
create or replace function booking.get_checkout_stats(p_from timestamptz default null, p_to timestamptz default null)
returns table (
  locks_taken bigint,
  locks_released bigint,
  locks_lapsed bigint,
  locks_held bigint,
  locks_refused bigint,
  avg_lock_duration interval,
  max_lock_duration interval,
  keys_repeated bigint,
  orders bigint,
  orders_by_status jsonb,
  paid_amounts jsonb
)
language sql stable security definer
set search_path = pg_catalog, pg_temp
as $$
  select e.released + e.lapsed + l.kept, e.released, e.lapsed + l.kept - l.held, l.held, e.refused, e.average, e.longest, e.repeated,
    o.orders, o.by_status, o.paid
  from (
    select count(*) filter (where x.kind = 'released') as released, count(*) filter (where x.kind = 'lapsed') as lapsed,
      count(*) filter (where x.kind = 'refused') as refused, count(*) filter (where x.kind = 'repeated') as repeated,
      avg(x.held) as average, max(x.held) as longest
    from booking.checkout_events x
    where (p_from is null or x.happened_at >= p_from) and (p_to is null or x.happened_at < p_to)
  ) e
  cross join (
    select count(*) as kept, count(*) filter (where k.expires_at > booking.clock()) as held from booking.concurrency_locks k
    where (p_from is null or k.acquired_at >= p_from) and (p_to is null or k.acquired_at < p_to)
  ) l
  cross join (
    select coalesce(sum(g.n), 0)::bigint as orders,
      jsonb_build_object('pending', 0, 'paid', 0, 'failed', 0, 'expired', 0)
        || coalesce(jsonb_object_agg(g.status, g.n), '{}') as by_status,
      coalesce((select jsonb_object_agg(a.currency, a.amount) from (
        select r.currency, sum(r.amount) as amount from booking.orders r
        where r.status = 'paid' and (p_from is null or r.created_at >= p_from) and (p_to is null or r.created_at < p_to)
        group by r.currency) a), '{}') as paid
    from (
      select r.status, count(*) as n from booking.orders r
      where (p_from is null or r.created_at >= p_from) and (p_to is null or r.created_at < p_to)
      group by r.status) g
  ) o
$$;

revoke all on function booking.get_checkout_stats(timestamptz, timestamptz) from public;
grant execute on function booking.get_checkout_stats(timestamptz, timestamptz) to booking_app, booking_dba;
comment on function booking.get_checkout_stats(timestamptz, timestamptz) is
  'Locks, repeated keys and orders of Checkout; durations as intervals, amounts in minor units by currency';
