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
select * from finish();
