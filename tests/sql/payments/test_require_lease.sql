-- booking.require_lease(): refuses a claim without a worker's name or with a lease that is not positive.
select plan(8);
select lives_ok($$ select booking.require_lease('w', '1 minute') $$, 'a name and a positive lease pass');
select lives_ok($$ select booking.require_lease(repeat('w', 255), '1 microsecond') $$, 'the limits pass');
select test.refused($$ select booking.require_lease(null, '1 minute') $$, 'PT400', 'invalid_request', '{"field": "worker"}', 'no name');
select test.refused($$ select booking.require_lease('', '1 minute') $$, 'PT400', 'invalid_request', '{"field": "worker"}', 'an empty name');
select test.refused($$ select booking.require_lease(repeat('w', 256), '1 minute') $$, 'PT400', 'invalid_request', '{"field": "worker"}',
  'a name too long');
select test.refused($$ select booking.require_lease('w', null) $$, 'PT400', 'invalid_request', '{"field": "lease"}', 'no lease');
select test.refused($$ select booking.require_lease('w', '0') $$, 'PT400', 'invalid_request', '{"field": "lease"}', 'a lease of nothing');
select test.refused($$ select booking.require_lease('w', '-1 second') $$, 'PT400', 'invalid_request', '{"field": "lease"}', 'a negative lease');
select * from finish();
