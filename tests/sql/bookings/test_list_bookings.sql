-- booking.list_bookings(): a person's bookings, newest first, a page at a time.
select * from no_plan();
create function pg_temp.book_at(n int, p_student text, p_expert text) returns uuid language plpgsql as $$
begin
  perform test.set_clock('2026-03-10 12:00Z'::timestamptz + n * interval '1 minute');
  return test.book(test.make_slot(n * interval '2 hours', p_session => test.make_session(p_expert)), p_student);
end
$$;
create temp table b as select n, pg_temp.book_at(n, s, e) as id from (values
  (1, 'anna', 'ben'), (2, 'anna', 'carl'), (3, 'dora', 'anna'), (4, 'dora', 'carl'), (5, 'anna', 'anna'), (6, 'anna', 'ben'), (7, 'dora', 'anna')) v (n, s, e);
create function pg_temp.listed(p_user text, p_status text default null, p_after uuid default null, p_limit int default 50) returns int[] language sql as $$
  select coalesce(array_agg(n order by l.ordinality), '{}')
  from booking.list_bookings(p_user, p_status, p_after, p_limit) with ordinality l join b on b.id = l.booking_id
$$;
select is(pg_temp.listed('anna'), array[7, 6, 5, 3, 2, 1], 'as student and as expert, newest first; the one with herself once');
select is(pg_temp.listed('carl'), array[4, 2], 'the expert''s');
select is(pg_temp.listed('nobody'), '{}', 'nobody''s');
do $$ begin
  perform booking.confirm_booking_transaction(test.expert(id), id, 'decline') from b where n in (2, 7);
  perform test.capture(id) from b where n = 6;
end $$;
select is(pg_temp.listed('anna', status), expected, 'only ' || status) from (values ('pending', array[5, 3, 1]), ('confirmed', array[6]),
  ('declined', array[7, 2]), ('cancelled', '{}'), ('completed', '{}')) v (status, expected);
select is(pg_temp.listed('anna', null, null, 2), array[7, 6], 'the first page');
select is(pg_temp.listed('anna', null, (select id from b where n = 6), 2), array[5, 3], 'the page after it');
select is(pg_temp.listed('anna', null, (select id from b where n = 3), 2), array[2, 1], 'the last page');
select is(pg_temp.listed('anna', null, (select id from b where n = 1), 2), '{}', 'nothing after it');
select is(pg_temp.listed('anna', 'pending', (select id from b where n = 5), 1), array[3], 'pages of one status');
select is(to_jsonb(l), to_jsonb(g), 'columns and values as in get_booking: ' || n)
from b, lateral booking.get_booking(test.student(id), id) g, lateral booking.list_bookings(test.student(id)) l where l.booking_id = b.id;
select test.refused(format('select * from booking.list_bookings(%L, %L, null, %s)', who, status, lim), 'PT400', 'invalid_request', jsonb_build_object('field', field), what)
from (values (null, null, '1', 'user_id', 'no user'), ('', null, '1', 'user_id', 'an empty user'), (repeat('x', 256), null, '1', 'user_id', 'a user of 256 characters'),
  ('anna', 'open', '1', 'status', 'an unknown status'), ('anna', '', '1', 'status', 'an empty status'), ('anna', null, 'null', 'limit', 'no limit'),
  ('anna', null, '0', 'limit', 'a page of nothing'), ('anna', null, '201', 'limit', 'a page of 201')) v (who, status, lim, field, what);
select test.refused($$ select * from booking.list_bookings('anna', 'open') $$, 'PT400', 'invalid_request',
  '{"allowed": ["pending", "confirmed", "declined", "cancelled", "completed"]}', 'DETAIL names the statuses there are');
select lives_ok($$ select * from booking.list_bookings('anna', null, null, 200) $$, 'a page of 200');
select * from finish();
