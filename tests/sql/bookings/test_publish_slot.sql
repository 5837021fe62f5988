-- booking.publish_slot(): an expert's time on offer, its seats spread over counter rows.
select * from no_plan();
select test.set_clock('2026-03-10 12:00Z');
create temp table s as select booking.create_session('expert-1', 'An hour', 5000, 'usd') as id, booking.create_session('expert-2', 'An hour', 5000, 'usd') as other;
grant select on s to public;
create temp table p as select booking.publish_slot('expert-1', id, '2026-03-17 10:00Z', '2026-03-17 11:00Z') as slot from s;

select results_eq($$ select x.expert_id, x.session_id, x.starts_at, x.ends_at, x.capacity, x.parts, x.confirmation::text, x.created_at from booking.slots x $$,
  $$ select 'expert-1', id, '2026-03-17 10:00Z'::timestamptz, '2026-03-17 11:00Z'::timestamptz, 1, 1::smallint, 'expert',
       '2026-03-10 12:00Z'::timestamptz from s $$, 'one seat and the expert''s confirmation unless said otherwise');
select results_eq($$ select slot_id, part, parts, capacity, taken::int, is_open, expert_id, session_id, starts_at, ends_at, confirmation::text from booking.slot_seats $$,
  $$ select slot, 0::smallint, 1::smallint, 1, 0, true, 'expert-1', id, '2026-03-17 10:00Z'::timestamptz, '2026-03-17 11:00Z'::timestamptz, 'expert' from p, s $$,
  'its seat is open and says what a booking needs to know');
select results_eq($$ select metric::text, at, quantity, amount from booking.stat_deltas where metric = 'slots' $$,
  $$ values ('slots', '2026-03-17 10:00Z'::timestamptz, 1::bigint, 1::bigint) $$, 'the statistics know of it, by the hour of its start');

-- capacity
create temp table sized as
select c as capacity, booking.publish_slot('sized-' || c, null, '2026-03-17 10:30Z', '2026-03-17 11:00Z', c, 'instant') as slot
from unnest(array[1, 2, 15, 16, 17, 32, 33, 100, 512, 513, 999999, 1000000]) c;
select is((select count(*) from booking.slot_seats q where q.slot_id = slot), least(32, ceil(capacity / 16.0))::bigint,
  format('%s seats lie in one row per 16, at most 32', capacity)) from sized;
select is((select sum(q.capacity) from booking.slot_seats q where q.slot_id = slot), capacity::bigint, format('%s seats in sum', capacity)) from sized;
select is_empty($$ select slot_id from booking.slot_seats group by slot_id having max(capacity) - min(capacity) > 1 $$, 'the rows differ by one seat at most');
select is_empty($$ select slot_id from booking.slot_seats group by slot_id having min(part) <> 0 or max(part) <> count(*) - 1 $$, 'parts count from zero');
select is((select confirmation::text from booking.slots x where x.id = slot), 'instant', 'confirmation as asked') from sized where capacity = 17;
select is((select session_id from booking.slots x where x.id = slot), null, 'open to any session of the expert') from sized where capacity = 17;

-- overlap
select booking.publish_slot('expert-1', null, '2026-03-17 11:00Z', '2026-03-17 12:00Z') is not null as adjacent;
select test.refused(format('select booking.publish_slot(%L, null, %L, %L)', 'expert-1', starts, ends), 'PT409', 'slot_overlap',
  jsonb_build_object('slot_id', slot), what)
from p, (values ('2026-03-17 10:00Z', '2026-03-17 11:00Z', 'the same time again'),
  ('2026-03-17 10:15Z', '2026-03-17 10:45Z', 'within it'),
  ('2026-03-17 09:00Z', '2026-03-17 10:30Z', 'over its start'),
  ('2026-03-17 09:00Z', '2026-03-17 10:00:00.002Z', 'two milliseconds over its start'),
  ('2026-03-17 09:30Z', '2026-03-17 10:59Z', 'around its start and middle')) v (starts, ends, what);
select lives_ok($$ select booking.publish_slot('expert-1', null, '2026-03-17 09:00Z', '2026-03-17 10:00Z') $$, 'back to back before it');
select lives_ok($$ select booking.publish_slot('expert-1', null, '2026-03-17 12:00Z', '2026-03-17 13:00Z') $$, 'back to back after another');
select lives_ok($$ select booking.publish_slot('expert-2', null, '2026-03-17 10:00Z', '2026-03-17 11:00Z') $$, 'another expert is free at that time');
select lives_ok($$ select booking.publish_slot('expert-1', null, '2026-03-18 10:00Z', '2026-03-18 10:00:01Z') $$, 'a second is the shortest slot');
select throws_ok($$
  insert into booking.slots (id, expert_id, expert_no, starts_at, ends_at, capacity, parts)
  select gen_random_uuid(), 'expert-1', e.expert_no, '2026-03-17 10:30Z', '2026-03-17 10:40Z', 1, 1 from booking.experts e where e.expert_id = 'expert-1' $$,
  '23P01', null, 'the table itself refuses an overlap, whoever writes');

-- refusals
select test.refused(format('select booking.publish_slot(%L, null, %L, %L, %s, %L)', expert, starts, ends, capacity, confirmation),
  'PT400', 'invalid_request', jsonb_build_object('field', field), what)
from (values
  (null, '2026-03-19 10:00Z', '2026-03-19 11:00Z', '1', 'expert', 'expert_id', 'no expert'),
  ('', '2026-03-19 10:00Z', '2026-03-19 11:00Z', '1', 'expert', 'expert_id', 'an empty expert'),
  (repeat('x', 256), '2026-03-19 10:00Z', '2026-03-19 11:00Z', '1', 'expert', 'expert_id', 'an expert of 256 characters'),
  ('e', null, '2026-03-19 11:00Z', '1', 'expert', 'starts_at', 'no start'),
  ('e', '-infinity', '2026-03-19 11:00Z', '1', 'expert', 'starts_at', 'since ever'),
  ('e', '2026-03-19 10:00Z', null, '1', 'expert', 'ends_at', 'no end'),
  ('e', '2026-03-19 10:00Z', 'infinity', '1', 'expert', 'ends_at', 'for ever'),
  ('e', '2026-03-19 10:00Z', '2026-03-19 10:00Z', '1', 'expert', 'ends_at', 'no time at all'),
  ('e', '2026-03-19 10:00Z', '2026-03-19 10:00:00.999999Z', '1', 'expert', 'ends_at', 'a microsecond less than a second'),
  ('e', '2026-03-19 10:00Z', '2026-03-19 09:00Z', '1', 'expert', 'ends_at', 'backwards'),
  ('e', '2026-03-19 10:00Z', '2026-03-19 11:00Z', 'null', 'expert', 'capacity', 'no capacity'),
  ('e', '2026-03-19 10:00Z', '2026-03-19 11:00Z', '0', 'expert', 'capacity', 'no seat'),
  ('e', '2026-03-19 10:00Z', '2026-03-19 11:00Z', '1000001', 'expert', 'capacity', 'a seat too many'),
  ('e', '2026-03-19 10:00Z', '2026-03-19 11:00Z', '1', 'maybe', 'confirmation', 'an unknown confirmation'),
  ('e', '2026-03-19 10:00Z', '2026-03-19 11:00Z', '1', null, 'confirmation', 'no confirmation')) v (expert, starts, ends, capacity, confirmation, field, what);
select test.refused(format('select booking.publish_slot(%L, %L, %L, %L)', 'expert-1', '00000000-0000-7000-8000-000000000000', '2026-03-19 10:00Z', '2026-03-19 11:00Z'),
  'PT404', 'session_not_found', '{"session_id": "00000000-0000-7000-8000-000000000000"}', 'a session that is not there');
select test.refused(format('select booking.publish_slot(%L, %L, %L, %L)', 'expert-1', other, '2026-03-19 10:00Z', '2026-03-19 11:00Z'),
  'PT400', 'session_mismatch', jsonb_build_object('session_id', other), 'another expert''s session') from s;
select is((select count(*) from booking.experts where expert_id in ('e', '')), 0::bigint, 'a refused slot leaves no expert behind');
select is_empty('select * from booking.check_invariants()', 'the books are in order');
select * from finish();
