-- booking.get_booking_stats(): the figures in one row, exact at the moment of the call.
select * from no_plan();
select test.set_clock('2026-03-10 12:40Z');
create function pg_temp.stats(p_from timestamptz default null, p_to timestamptz default null) returns jsonb language sql as $$
  select to_jsonb(s) from booking.get_booking_stats(p_from, p_to) s
$$;
select is(pg_temp.stats(), '{"total_bookings": 0, "pending": 0, "confirmed": 0, "declined": 0, "cancelled": 0, "expired": 0, "completed": 0,
  "confirmation_rate": null, "avg_confirmation_time": null, "captured_amounts": {}, "refunded_amounts": {}, "open_slots": 0, "seats_total": 0,
  "seats_taken": 0, "webhook_events": 0, "webhook_failures": 0, "commands_pending": 0, "commands_dead": 0, "oldest_pending_command": null}'::jsonb,
  'of nothing');

-- ten bookings made at 12:40, decided from 12:50 on
create temp table b as select n, what, test.book(test.make_slot(start, p_amount => 1000, p_currency => currency)) as id from (values
  (1, 'pending', '3 days'::interval, 'usd'), (2, 'confirmed', '3 days', 'usd'), (3, 'captured', '3 days', 'usd'), (4, 'captured', '3 days', 'eur'),
  (5, 'declined', '3 days', 'usd'), (6, 'cancelled early', '3 days', 'usd'), (7, 'cancelled late', '10 hours', 'eur'), (8, 'completed', '1 hour', 'usd'),
  (9, 'expired', '3 days', 'usd'), (10, 'lost', '3 days', 'usd')) v (n, what, start, currency);
do $$ begin
  perform test.authorize(id) from b where what <> 'expired';
end $$;
select test.set_clock('2026-03-10 12:50Z');
do $$ begin
  perform test.confirm(id) from b where what in ('confirmed', 'completed');
  perform booking.confirm_booking_transaction(test.expert(id), id, 'decline') from b where what = 'declined';
  perform booking.cancel_booking_transaction(test.student(id), id) from b where what = 'cancelled early';
  perform test.event('payment_intent.canceled', test.intent(id, 'canceled')) from b where what = 'lost';
end $$;
select test.set_clock('2026-03-10 13:10Z');
do $$ begin
  perform test.capture(id) from b where what in ('captured', 'cancelled late');
  perform test.run_commands(id) from b where what = 'completed';
  perform booking.cancel_booking_transaction(test.student(id), id) from b where what = 'cancelled late';
end $$;
set session_replication_role = replica;
update booking.bookings set created_at = '2026-03-10 13:05Z' where id = (select id from b where what = 'pending');
set session_replication_role = origin;
do $$ begin perform booking.cleanup_expired_bookings(); end $$;
select test.set_clock('2026-03-10 15:10Z');
do $$ begin
  perform booking.complete_past_bookings();
  perform test.run_commands(id) from b where what = 'cancelled late';
end $$;
create temp table expected as select '{"total_bookings": 10, "pending": 1, "confirmed": 3, "declined": 1, "cancelled": 3, "expired": 1, "completed": 1,
  "confirmation_rate": 0.5000, "avg_confirmation_time": "00:22:00", "captured_amounts": {"usd": 2000, "eur": 2000}, "refunded_amounts": {"eur": 500},
  "open_slots": 5, "seats_total": 10, "seats_taken": 5, "webhook_events": 10, "webhook_failures": 0, "commands_pending": 3, "commands_dead": 0,
  "oldest_pending_command": "02:20:00"}'::jsonb as stats;
select is(pg_temp.stats(), stats, 'every figure') from expected;
select results_eq($$ select status::text, count(*) from booking.bookings group by 1 order by 1 $$,
  $$ values ('cancelled', 4::bigint), ('completed', 1), ('confirmed', 3), ('declined', 1), ('pending', 1) $$, 'as the rows say');
select is_empty('select * from booking.check_invariants()', 'the books are in order');

-- folding changes nothing
do $$ begin perform booking.roll_up_stats(); end $$;
select is(pg_temp.stats(), stats, 'the same when all lines are folded') from expected;
do $$ begin perform test.book() from (select 1) x; end $$;
select is((pg_temp.stats() ->> 'total_bookings')::int, 11, 'a new booking counts at once, folded or not');
select is((pg_temp.stats() ->> 'seats_taken')::int, 6, 'and its seat');

-- windows
select is((pg_temp.stats(f, t) ->> 'total_bookings')::int, n, format('from %s to %s: bookings of the hours from 12:00 and from 15:00', f, t))
from (values
  ('2026-03-10 12:00Z'::timestamptz, '2026-03-10 13:00Z'::timestamptz, 10), ('2026-03-10 12:59:59Z', '2026-03-10 12:59:59Z', 10),
  ('2026-03-10 12:40Z', '2026-03-10 12:50Z', 10), ('2026-03-10 11:00Z', '2026-03-10 12:00Z', 0), ('2026-03-10 11:00Z', '2026-03-10 12:00:00.000001Z', 10),
  ('2026-03-10 13:00Z', '2026-03-10 15:00Z', 0), ('2026-03-10 13:00Z', '2026-03-10 15:00:00.000001Z', 1), ('2026-03-10 13:00Z', null, 1), (null, '2026-03-10 13:00Z', 10),
  ('2026-03-10 12:00Z', '2026-03-10 12:00Z', 0), ('2026-03-10 12:59:59.999999Z', '2026-03-10 15:00:00.000001Z', 11), ('-infinity', 'infinity', 11)) v (f, t, n);
select is(pg_temp.stats('2026-03-10 13:00Z', '2026-03-10 14:00Z') - array['pending', 'confirmed', 'oldest_pending_command', 'open_slots'],
  '{"total_bookings": 0, "declined": 0, "cancelled": 0, "expired": 0, "completed": 0, "confirmation_rate": null, "avg_confirmation_time": null,
    "captured_amounts": {"usd": 2000, "eur": 2000}, "refunded_amounts": {}, "seats_total": 11, "seats_taken": 6, "webhook_events": 0, "webhook_failures": 0,
    "commands_pending": 3, "commands_dead": 0}'::jsonb,
  'money counts by the hour it moved; seats and commands are the present state, whatever the window');
select is(pg_temp.stats('2026-03-10 15:00Z', '2026-03-10 16:00Z') -> 'refunded_amounts', '{"eur": 500}', 'refunds too');
select is((pg_temp.stats('2026-03-10 12:00Z', '2026-03-10 13:00Z') ->> 'webhook_events')::int, 10, 'events by the hour they came');
begin;
set local timezone = 'Asia/Kolkata';
select is((pg_temp.stats('2026-03-10 12:10Z', '2026-03-10 12:20Z') ->> 'total_bookings')::int, 10, 'hours are UTC hours in every time zone');
commit;
select test.refused($$ select * from booking.get_booking_stats('2026-03-10 12:00:00.000001Z', '2026-03-10 12:00Z') $$, 'PT400', 'invalid_request', '{"field": "to"}',
  'a window that ends before it begins');

-- windows of any length: hours, days and months give what the hours alone give
begin;
insert into booking.stat_deltas (metric, at, currency, quantity, amount)
select m, '2024-11-20Z'::timestamptz + n * interval '5 hours', case m when 'booked' then '' else 'usd' end, n, n * 7
from generate_series(0, 2000) n, unnest(array['booked', 'captured']::booking.stat_metric[]) m;
do $$ begin perform booking.roll_up_stats(); end $$;
insert into booking.stat_deltas (metric, at, quantity) values ('booked', '2025-02-01Z', 1000000);
select is_empty($$
  with w as (
    select f, t, pg_temp.stats(f, t) as s
    from unnest(array[null, '-infinity', '2024-11-30 07:00Z', '2024-12-01Z', '2024-12-01 01:00Z', '2025-01-30Z', '2025-02-01Z', '2025-02-01 13:00Z', '2025-12-31 23:00Z']::timestamptz[]) f,
      unnest(array[null, 'infinity', '2024-12-01Z', '2024-12-01 02:00Z', '2024-12-31Z', '2025-02-01Z', '2025-02-01 01:00Z', '2025-03-01 02:00Z', '2025-03-02Z', '2026-01-01Z']::timestamptz[]) t
    where f <= t or f is null or t is null
  )
  select f, t, s ->> 'total_bookings' from w
  where (s ->> 'total_bookings')::bigint <> (select coalesce(sum(l.quantity), 0) from (
      select metric, hour, quantity from booking.stat_hours union all select metric, at, quantity from booking.stat_deltas) l
      where l.metric = 'booked' and (f is null or l.hour >= f) and (t is null or l.hour < t))
    or coalesce((s #>> '{captured_amounts, usd}')::bigint, 0) <> (select coalesce(sum(h.amount), 0) from (
      select metric, hour, currency, amount from booking.stat_hours union all select metric, at, currency, amount from booking.stat_deltas) h
      where h.metric = 'captured' and h.currency = 'usd' and (f is null or h.hour >= f) and (t is null or h.hour < t)) $$,
  'hours, days and months of a window add up to its hours, whatever its ends');
rollback;

-- what people and workers have to do
do $$ begin
  perform test.event('charge.captured', test.charge(id, true) || '{"currency": "gbp"}') from b where what = 'pending';
  perform booking.claim_stripe_command(test.open_command(id), 'w') from b where what = 'confirmed';
  perform booking.claim_stripe_command(test.open_command(id), 'w') from b where what = 'declined';
  perform booking.fail_stripe_command(test.open_command(id), 'w', '{"type": "invalid_request_error", "http_status": 400}', false) from b where what = 'declined';
end $$;
select is(pg_temp.stats() - (select array_agg(k) from jsonb_object_keys((select stats from expected)) k
    where k not in ('webhook_failures', 'commands_pending', 'commands_dead', 'oldest_pending_command')),
  '{"webhook_failures": 1, "commands_pending": 2, "commands_dead": 1, "oldest_pending_command": "02:20:00"}'::jsonb,
  'a failed event, a dead command; what is running is still pending');
select is((pg_temp.stats('2020-01-01', '2020-01-02') ->> 'webhook_failures')::int, 1, 'failures whatever the window');

-- open slots
create function pg_temp.open_slots() returns int language sql as $$ select (pg_temp.stats() ->> 'open_slots')::int $$;
create function pg_temp.open_after(p_sql text) returns int language plpgsql as $$
declare
  v_before int := pg_temp.open_slots();
begin
  execute p_sql;
  return pg_temp.open_slots() - v_before;
end
$$;
select is(pg_temp.open_after($$ select test.make_slot('10 minutes') $$), 1, 'one that starts within this hour');
select is(pg_temp.open_after($$ select test.make_slot('-1 microsecond') $$), 0, 'one that has started');
select is(pg_temp.open_after($$ select test.make_slot('0') $$), 0, 'one that starts at this moment');
select is(pg_temp.open_after($$ select test.make_slot('50 minutes') $$), 1, 'one at the full hour');
select is(pg_temp.open_after($$ select test.make_slot('50 minutes') $$), 1, 'one more');
select is(pg_temp.open_after($$ select test.make_slot('5 days', 16) $$), 1, 'one with 16 seats');
select is(pg_temp.open_after($$ select test.make_slot('5 days', 17) $$), 1, 'a class of 17');
select is(pg_temp.open_after($$ select test.make_slot('-5 minutes', 17) $$), 0, 'a class that has started');
create temp table s as select test.make_slot('6 days') as one, test.make_slot('6 days', 2) as two, test.make_slot('6 days', 17) as class, test.make_slot('20 minutes') as soon;
select is(pg_temp.open_after(format('select test.book(%L)', one)), -1, 'one seat sold: full') from s;
select is(pg_temp.open_after(format('select test.book(%L)', soon)), -1, 'also within this hour') from s;
select is(pg_temp.open_after(format('select test.book(%L)', two)), 0, 'the first of two') from s;
select is(pg_temp.open_after(format('select test.book(%L)', two)), -1, 'the second of two') from s;
select is(pg_temp.open_after(format('select count(test.book(%L)) from generate_series(1, 16)', class)), 0, 'sixteen of a class of 17') from s;
select is(pg_temp.open_after(format('select test.book(%L)', class)), -1, 'all of them') from s;
select is(pg_temp.open_after(format('select booking.cancel_booking_transaction(b.student_id, b.id) from booking.bookings b where b.slot_id = %L limit 1', slot)), 1,
  'a cancelled one opens it again') from s, lateral unnest(array[one, two, class]) slot;
create temp table o as select pg_temp.open_slots() as n;
do $$ begin perform booking.roll_up_stats(); end $$;
select is(pg_temp.open_slots(), n, 'folding changes nothing') from o;
select is(pg_temp.open_slots(), (select count(*)::int from booking.slots x where x.starts_at > booking.clock()
  and exists (select from booking.slot_seats q where q.slot_id = x.id and q.is_open)), 'as the rows say');
select test.set_clock('2026-03-10 15:25Z');
select is(pg_temp.open_slots(), n - 1, 'ten minutes later the first has started') from o;
select test.set_clock('2026-03-10 16:00Z');
select is(pg_temp.open_slots(), n - 3, 'at the full hour the next ones have') from o;

-- where nothing may be written
insert into booking.stat_deltas (metric, at, quantity) select 'webhooks', '2026-03-10 16:00Z', 0 from generate_series(1, 2500);
begin;
set local transaction read only;
select isnt(pg_temp.stats(), null, 'it works in a read-only transaction');
commit;
select is((select count(*) > 2000 from booking.stat_deltas), true, 'and folds nothing there');
create temp table w as select pg_temp.stats() as stats;
select is((select count(*) from booking.stat_deltas), 0::bigint, 'elsewhere it folds the lines when many wait');
select is(pg_temp.stats(), stats, 'without changing a figure') from w;
select is_empty('select * from booking.check_invariants()', 'the books are in order');
select * from finish();
