-- booking.archive_old_bookings(): personal data of what ended long ago goes, what audits need stays.
select * from no_plan();
select test.set_clock('2026-03-10 12:00Z');
create temp table b as select what, (select booking_id from booking.create_booking_transaction(what, test.make_slot('1 hour'), p_details => '{"phone": "1"}')) as id
from unnest(array['completed', 'declined', 'cancelled', 'expired', 'confirmed', 'pending']) what;
do $$ begin
  perform test.capture(id) from b where what in ('completed', 'confirmed');
  perform booking.confirm_booking_transaction(test.expert(id), id, 'decline', 'private words') from b where what = 'declined';
  perform booking.cancel_booking_transaction(test.student(id), id, 'private words') from b where what = 'cancelled';
  perform test.authorize(id) from b where what = 'expired';
end $$;
set session_replication_role = replica;
update booking.bookings set created_at = '2026-03-10 11:00Z' where student_id = 'expired';
set session_replication_role = origin;
do $$ begin perform booking.cleanup_expired_bookings(); end $$;
select is(test.state(id), 'cancelled/authorized', 'one expired') from b where what = 'expired';
update booking.bookings set ends_at = '2026-03-10 12:00Z' where student_id = 'completed';
do $$ begin perform booking.complete_past_bookings(); end $$;
create temp table before as select x.* from booking.bookings x;
select test.set_clock('2026-06-08 11:59:59.999999Z');
select is(booking.archive_old_bookings(), 0, 'a microsecond before 90 days nothing is scrubbed');
select test.set_clock('2026-06-08 12:00Z');
select is(booking.archive_old_bookings(), 4, 'at 90 days since they ended four are');
select results_eq($$ select student_id, details, cancellation_reason, scrubbed_at from booking.bookings order by 1 $$, $$ values
  ('cancelled', '{}'::jsonb, null, '2026-06-08 12:00Z'::timestamptz), ('completed', '{}', null, '2026-06-08 12:00Z'),
  ('confirmed', '{"phone": "1"}', null, null), ('declined', '{}', null, '2026-06-08 12:00Z'), ('expired', '{}', 'expired', '2026-06-08 12:00Z'),
  ('pending', '{"phone": "1"}', null, null) $$, 'details and people''s words are gone, the system''s reason and live bookings stay');
select results_eq($$ select to_jsonb(x) - array['details', 'cancellation_reason', 'scrubbed_at', 'updated_at'] from booking.bookings x order by id $$,
  $$ select to_jsonb(x) - array['details', 'cancellation_reason', 'scrubbed_at', 'updated_at'] from before x order by id $$, 'all else is as it was');
select is(booking.archive_old_bookings(), 0, 'again there is nothing to do');
select is_empty($$ select * from booking.booking_events where reason like '%private%' $$, 'the audit trail never had people''s words');
do $$ begin perform booking.cancel_booking_transaction(test.student(id), id) from (select test.book() as id from generate_series(1, 5)) x; end $$;
select is(booking.archive_old_bookings('0', 2), 2, 'a batch of two');
select is(booking.archive_old_bookings('0', 2), 2, 'then two more');
select is(booking.archive_old_bookings('0', 2), 1, 'then the last');
select test.refused(format('select booking.archive_old_bookings(%L, %s)', age, n), 'PT400', 'invalid_request', jsonb_build_object('field', field),
  format('age %s, %s rows', age, n))
from (values (null, '1', 'age'), ('-1 day', '1', 'age'), ('1 day', '0', 'batch_size'), ('1 day', 'null', 'batch_size'), ('1 day', '10001', 'batch_size')) v (age, n, field);
select is_empty('select * from booking.check_invariants()', 'the books are in order');
-- the words of refund requests
select test.set_clock('2026-07-01 12:00Z');
create temp table w as select n, test.captured_booking('1 hour') as b from unnest(array['rejected', 'refunded', 'open', 'later']) n;
create temp table wq as select n, test.ask(b, 1000, 'private words') as id from w where n <> 'later';
do $$ begin
  perform booking.decide_refund_request('admin', id, case n when 'rejected' then 'reject' else 'approve' end, 'private note') from wq where n <> 'open';
  perform test.run_commands(b) from w;
end $$;
create function pg_temp.words() returns text language sql as $$
  select string_agg(n || ' ' || coalesce((test.request(id)).reason, '-') || ' ' || coalesce((test.request(id)).note, '-'), ', ' order by n) from wq $$;
select test.set_clock('2026-07-01 14:00Z');
do $$ begin perform booking.complete_past_bookings(); end $$;
select test.set_clock('2026-09-20 14:00Z');
insert into wq select n, test.ask(b, 500, 'private words') from w where n = 'later';
do $$ begin perform booking.decide_refund_request('admin', id, 'reject', 'private note') from wq where n = 'later'; end $$;
insert into wq select 'asked late', test.ask(b, 500, 'private words') from w where n = 'later';
select test.set_clock('2026-09-29 13:59Z');
select is(booking.archive_old_bookings(), 0, 'the booking is not old enough');
select is(pg_temp.words(), 'asked late private words -, later private words private note, open private words -, refunded private words private note, rejected private words private note',
  'nor are its requests');
select test.set_clock('2026-09-29 14:00Z');
select is(booking.archive_old_bookings(), 5, 'these four and one from before');
select is(pg_temp.words(), 'asked late private words -, later - -, open - -, refunded - -, rejected - -', 'and the words of what was asked and answered by then; what waits for a decision since lately is still needed');
select results_eq($$ select r.status::text, r.amount, r.decided_by from booking.refund_requests r join wq using (id) where wq.n = 'refunded' $$, $$ values ('refunded', 1000::bigint, 'admin') $$, 'money and decisions stay');
do $$ begin perform booking.decide_refund_request('admin', id, 'reject', 'private note') from wq where n = 'asked late'; perform booking.archive_old_bookings(); end $$;
select is((test.request(id)).note, 'private note', 'what is written after that has its own 90 days') from wq where n = 'asked late';
select test.set_clock('2026-12-28 14:00Z');
do $$ begin perform booking.archive_old_bookings(); end $$;
select is(pg_temp.words(), 'asked late - -, later - -, open - -, refunded - -, rejected - -', 'then it goes, too');
-- a request whose refund failed long after it was asked for: a person has to decide anew, and reads the words for that
select test.set_clock('2026-12-28 15:00Z');
create temp table back as select test.captured_booking('1 hour') as b;
create temp table bq as select test.ask(b, 500, 'private words') as id from back;
select test.set_clock('2026-12-28 17:00Z');
do $$ begin perform booking.complete_past_bookings(); end $$;
select test.set_clock('2027-03-01 12:00Z');
do $$ begin perform test.run_command(test.approve(id)) from bq; end $$;
select test.set_clock('2027-04-01 12:00Z');
do $$ begin perform test.fail_refund((test.request(id)).command_id) from bq; perform booking.archive_old_bookings(); end $$;
select isnt((test.booking(b)).scrubbed_at, null, 'the booking is scrubbed') from back;
select is((test.request(id)).status || ' ' || (test.request(id)).reason, 'pending private words', 'the words of a request that came back stay') from bq;
select test.set_clock('2027-06-30 12:00Z');
do $$ begin perform booking.archive_old_bookings(); end $$;
select is((test.request(id)).reason, null, 'for as long again') from bq;
-- a hold that lapsed long before the class for which its student was seated again
create temp table lapsed as select test.hold_seat(test.make_class(1, '100 days'), 'ann') as id;
do $$ begin perform test.lapse(id), test.event('payment_intent.succeeded', test.intent(id, 'succeeded')) from lapsed; end $$;
create temp table seated as select p.booking_id as b from lapsed, booking.payments p where p.id = (test.booking(lapsed.id)).payment_id;
create temp table sq as select test.ask(b, 500, 'private words') as id from seated;
do $$ begin perform booking.decide_refund_request('admin', id, 'reject', 'private note') from sq; end $$;
select test.set_clock(booking.clock() + interval '91 days');
do $$ begin perform booking.archive_old_bookings(); end $$;
select isnt((test.booking(id)).scrubbed_at, null, 'the lapsed hold is scrubbed') from lapsed;
select is((test.booking(b)).scrubbed_at, null, 'the new booking is not') from seated;
select is((test.request(id)).note, 'private note', 'and its requests keep their words') from sq;
select is_empty('select * from booking.check_invariants()', 'the books are in order with requests');
select * from finish();
