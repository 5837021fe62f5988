-- booking.refuse_booking(): why a booking is not to be had.
select * from no_plan();
select test.set_clock('2026-03-10 12:00Z');
create temp table s as select test.make_session('expert-1') as session, test.make_session('expert-2') as foreign_session;
create temp table f as select test.make_slot(p_session => session) as slot,
  booking.publish_slot('expert-1', null, '2026-03-20 10:00Z', '2026-03-20 11:00Z') as any_session from s;
create temp table b as select test.book(slot, 'student-1') as id from f;
create function pg_temp.ask(p_slot uuid, p_session uuid, p_reason text, p_student text default 'student-2') returns text language sql as $$
  select format('select booking.refuse_booking(%L, %L, %L, %L)', p_student, p_slot, p_session, p_reason) $$;

select test.refused(pg_temp.ask(slot, null, 'full'), 'PT409', 'slot_unavailable', jsonb_build_object('slot_id', slot, 'reason', 'full'), 'no seat') from f;
select test.refused(pg_temp.ask(slot, null, 'full', 'student-1'), 'PT409', 'duplicate_booking', jsonb_build_object('slot_id', slot, 'booking_id', id),
  'no seat, because it is the student''s own') from f, b;
select test.refused(pg_temp.ask(slot, null, 'duplicate'), 'PT409', 'duplicate_booking', jsonb_build_object('slot_id', slot, 'booking_id', null),
  'a booking that was in the way a moment ago') from f;
select test.refused(pg_temp.ask(slot, null, 'started'), 'PT409', 'slot_unavailable', jsonb_build_object('slot_id', slot, 'reason', 'started'), 'begun') from f;
select test.refused(pg_temp.ask('00000000-0000-7000-8000-000000000000', null, 'absent'), 'PT404', 'slot_not_found',
  '{"slot_id": "00000000-0000-7000-8000-000000000000"}', 'no slot');
select test.refused(pg_temp.ask(slot, '00000000-0000-7000-8000-000000000000', 'started'), 'PT404', 'session_not_found',
  '{"session_id": "00000000-0000-7000-8000-000000000000"}', 'no session') from f;
select test.refused(pg_temp.ask(slot, foreign_session, 'started'), 'PT400', 'session_mismatch',
  jsonb_build_object('slot_id', slot, 'session_id', foreign_session), 'another expert''s session') from f, s;
select test.refused(pg_temp.ask(any_session, null, 'started'), 'PT400', 'invalid_request', '{"field": "session_id"}', 'a slot of any session, none named') from f;
select * from finish();
