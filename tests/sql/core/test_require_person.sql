-- booking.require_person(): ids of people have 1 to 255 characters.
select plan(7);
select lives_ok($$ select booking.require_person('student_id', 'x') $$, 'one character is enough');
select lives_ok($$ select booking.require_person('student_id', repeat('ü', 255)) $$, '255 characters fit, whatever their bytes');
select test.refused($$ select booking.require_person('student_id', null) $$, 'PT400', 'invalid_request', '{"field": "student_id"}', 'absent');
select test.refused($$ select booking.require_person('expert_id', '') $$, 'PT400', 'invalid_request', '{"field": "expert_id"}', 'empty');
select test.refused($$ select booking.require_person('actor', repeat('x', 256)) $$, 'PT400', 'invalid_request', '{"field": "actor"}', '256 characters');
select throws_ok(format('insert into booking.experts (expert_id) values (%L)', id), '23514', null, 'the table of experts holds the same bounds')
from unnest(array['', repeat('x', 256)]) id;
select * from finish();
