-- booking.list_open_slots(): what can still be booked, in order of its start, a page at a time.
select * from no_plan();
select test.set_clock('2026-03-10 12:00Z');
create temp table e as select test.make_session('ann') as ann, test.make_session('bob', 700, 'eur', 'Half an hour') as bob;
create temp table s (n int, slot uuid);
insert into s select n, booking.publish_slot(case when n % 2 = 1 then 'ann' else 'bob' end, case when n % 2 = 1 then ann when n < 6 then bob end,
  '2026-03-10 12:00Z'::timestamptz + ((n + 1) / 2) * interval '1 hour', '2026-03-10 12:59Z'::timestamptz + ((n + 1) / 2) * interval '1 hour',
  case when n = 5 then 40 else n end, case when n = 5 then 'instant' else 'expert' end)
from e, generate_series(1, 6) n;
create function pg_temp.listed(p_from timestamptz, p_to timestamptz, p_expert text default null, p_after uuid default null, p_limit int default 100)
returns int[] language sql as $$
  select coalesce(array_agg(n order by l.ordinality), '{}')
  from booking.list_open_slots(p_from, p_to, p_expert, p_after, p_limit) with ordinality l join s on s.slot = l.slot_id
$$;
-- slots 1 and 2 start at 13:00, 3 and 4 at 14:00, 5 and 6 at 15:00; the same hour is in the order of ids
create temp table o as select array_agg(n order by (n + 1) / 2, slot) as all_slots from s;
select is(pg_temp.listed('2026-03-10 12:00Z', '2026-03-11 12:00Z'), all_slots, 'everything ahead, by start') from o;
select is(pg_temp.listed('2026-03-10 12:00Z', '2026-03-11 12:00Z', 'ann'), array[1, 3, 5], 'one expert''s');
select is(pg_temp.listed('2026-03-10 12:00Z', '2026-03-11 12:00Z', 'nobody'), '{}', 'nobody''s');
select is(pg_temp.listed('2026-03-10 14:00Z', '2026-03-10 15:00Z', 'ann'), array[3], 'from includes, to excludes');
select is(pg_temp.listed('2026-03-10 14:00:00.000001Z', '2026-03-10 15:00:00.000001Z', 'ann'), array[5], 'to the microsecond');
select is(pg_temp.listed('-infinity', 'infinity', 'bob'), array[2, 4, 6], 'from ever to ever');

select results_eq($$ select expert_id, session_id, title, amount, currency, starts_at, ends_at, capacity, seats_left, confirmation::text
    from booking.list_open_slots('2026-03-10 12:00Z', '2026-03-11 12:00Z') order by expert_id, starts_at $$,
  $$ select * from (
     select 'ann' as e, ann, 'An hour', 5000::bigint, 'usd', t as s, t + interval '59 minutes', c, c, m
     from e, (values ('2026-03-10 13:00Z'::timestamptz, 1, 'expert'), ('2026-03-10 14:00Z', 3, 'expert'), ('2026-03-10 15:00Z', 40, 'instant')) v (t, c, m)
     union all
     select 'bob', case when c < 6 then bob end, case when c < 6 then 'Half an hour' end, case when c < 6 then 700 end, case when c < 6 then 'eur' end,
       t, t + interval '59 minutes', c, c, 'expert'
     from e, (values ('2026-03-10 13:00Z'::timestamptz, 2), ('2026-03-10 14:00Z', 4), ('2026-03-10 15:00Z', 6)) v (t, c)) x order by e, s $$,
  'each with its session, price and seats; a slot open to any session has none of them');

-- pages
select is(pg_temp.listed('2026-03-10 12:00Z', '2026-03-11 12:00Z', null, null, 3), all_slots[1:3], 'the first page') from o;
select is(pg_temp.listed('2026-03-10 12:00Z', '2026-03-11 12:00Z', null, (select slot from s where n = all_slots[3]), 3), all_slots[4:6], 'the page after it') from o;
select is(pg_temp.listed('2026-03-10 12:00Z', '2026-03-11 12:00Z', null, (select slot from s where n = all_slots[6]), 3), '{}', 'nothing after it') from o;
select is(pg_temp.listed('2026-03-10 12:00Z', '2026-03-11 12:00Z', 'bob', (select slot from s where n = 2), 1), array[4], 'pages of one expert');
select is(pg_temp.listed('2026-03-10 12:00Z', '2026-03-11 12:00Z', null, null, 1), all_slots[1:1], 'a class of several counters fills one line of a page') from o;
select is(pg_temp.listed('2026-03-10 15:00Z', '2026-03-11 12:00Z', 'ann', null, 1), array[5], 'also alone');

-- seats
do $$ begin perform test.book(slot) from s where n = 1; perform test.book(slot) from s, generate_series(1, 17) where n = 5; perform test.book(slot) from s where n = 3; end $$;
select is(pg_temp.listed('2026-03-10 12:00Z', '2026-03-11 12:00Z', 'ann'), array[3, 5], 'what is full is not offered');
select results_eq($$ select capacity, seats_left from booking.list_open_slots('2026-03-10 12:00Z', '2026-03-11 12:00Z', 'ann') $$,
  'values (3, 2), (40, 23)', 'seats left, over all counters of a class');
do $$ begin perform test.book(slot) from s, generate_series(1, 23) where n = 5; end $$;
select is(pg_temp.listed('2026-03-10 12:00Z', '2026-03-11 12:00Z', 'ann'), array[3], 'a class is full when every counter is');
do $$ begin perform booking.cancel_booking_transaction(b.student_id, b.id) from booking.bookings b join s on s.slot = b.slot_id where n = 1; end $$;
select is(pg_temp.listed('2026-03-10 12:00Z', '2026-03-11 12:00Z', 'ann'), array[1, 3], 'a freed seat is offered again');

-- time goes on
select test.set_clock('2026-03-10 12:59:59.999999Z');
select is(pg_temp.listed('2026-03-10 12:00Z', '2026-03-11 12:00Z', 'ann'), array[1, 3], 'a microsecond before its start it is offered');
select test.set_clock('2026-03-10 13:00Z');
select is(pg_temp.listed('2026-03-10 12:00Z', '2026-03-11 12:00Z', 'ann'), array[3], 'at its start it is not');
select is(pg_temp.listed('2026-03-10 12:00Z', '2026-03-11 12:00Z', 'ann', (select slot from s where n = 1)), array[3], 'a page after one that has started meanwhile');
select is(pg_temp.listed('2026-03-10 09:00Z', '2026-03-10 11:00Z'), '{}', 'the past is empty');

select test.refused(format('select * from booking.list_open_slots(%L, %L, null, null, %s)', f, t, lim), 'PT400', 'invalid_request', jsonb_build_object('field', field), what)
from (values (null, '2026-03-11 12:00Z', '1', 'from', 'no start'), ('2026-03-11 12:00Z', null, '1', 'to', 'no end'),
  ('2026-03-11 12:00Z', '2026-03-11 12:00Z', '1', 'to', 'no time at all'), ('2026-03-11 12:00Z', '2026-03-10 12:00Z', '1', 'to', 'backwards'),
  ('2026-03-10 12:00Z', '2026-03-11 12:00Z', 'null', 'limit', 'no limit'), ('2026-03-10 12:00Z', '2026-03-11 12:00Z', '0', 'limit', 'a page of nothing'),
  ('2026-03-10 12:00Z', '2026-03-11 12:00Z', '501', 'limit', 'a page of 501')) v (f, t, lim, field, what);
select lives_ok($$ select * from booking.list_open_slots('2026-03-10 12:00Z', '2026-03-11 12:00Z', null, null, 500) $$, 'a page of 500');
select test.refused($$ select * from booking.list_open_slots('2026-03-10 12:00Z', '2026-03-11 12:00Z', null, '00000000-0000-7000-8000-000000000000') $$,
  'PT404', 'slot_not_found', '{"slot_id": "00000000-0000-7000-8000-000000000000"}', 'after a slot that is not there');
select * from finish();
