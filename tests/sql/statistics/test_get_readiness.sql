-- booking.get_readiness(): whether the database can serve, and how the outbox stands.
select * from no_plan();
select test.set_clock('2026-03-10 12:00Z');
select results_eq('select schema_ok, commands_pending, commands_dead, oldest_pending_seconds from booking.get_readiness()', 'values (true, 0::bigint, 0::bigint, 0::bigint)',
  'nothing to do');
create temp table b as select n, test.book() as id from generate_series(1, 3) n;
do $$ begin perform test.authorize(id), test.confirm(id) from b;
  perform booking.claim_stripe_command(test.open_command(id), 'w') from b where n <= 2;
  perform booking.fail_stripe_command(test.open_command(id), 'w', '{"type": "invalid_request_error", "http_status": 400}', false) from b where n = 1; end $$;
select test.set_clock('2026-03-10 12:01:30Z');
select results_eq('select commands_pending, commands_dead, oldest_pending_seconds from booking.get_readiness()', 'values (2::bigint, 1::bigint, 90::bigint)',
  'a dead command; what waits and what runs is pending, the oldest for 90 s');
do $$ begin perform test.run_command(test.open_command(id)) from b where n = 3; end $$;
select is(commands_pending, 1::bigint, 'what is done is not') from booking.get_readiness();
select * from finish();
