-- booking.require_person(): ids of people have 1 to 255 characters.
select plan(6);
select lives_ok($$ select booking.require_person('student_id', 'x') $$, 'one character is enough');
select lives_ok($$ select booking.require_person('student_id', repeat('ü', 255)) $$, '255 characters fit, whatever their bytes');
select test.refused($$ select booking.require_person('student_id', null) $$, 'PT400', 'invalid_request', '{"field": "student_id"}', 'absent');
select test.refused($$ select booking.require_person('expert_id', '') $$, 'PT400', 'invalid_request', '{"field": "expert_id"}', 'empty');
select test.refused($$ select booking.require_person('actor', repeat('x', 256)) $$, 'PT400', 'invalid_request', '{"field": "actor"}', '256 characters');
select is((select string_agg(c.conrelid::regclass || '', ', ' order by c.conrelid::regclass::text) from pg_constraint c
  where c.contype = 'c' and pg_get_constraintdef(c.oid) ~ 'length\((expert|student)_id\) >= 1\) AND \(length\((expert|student)_id\) <= 255'),
  'booking.bookings, booking.experts', 'the tables hold the same bounds');
select * from finish();
