-- booking.claim_stripe_command(): one command, for the server that has just committed it.
select plan(17);
select test.set_clock('2026-03-10 12:00Z');
create temp table t as select test.book() as b;
do $$ begin perform test.authorize(b) from t; end $$;
create temp table c as select test.confirm(b) as id from t;
grant select on c to booking_app;
set local role booking_app;
create temp table claim as select k.* from c, booking.claim_stripe_command(p_command_id => c.id, p_worker => 'shim-1', p_lease => '1 minute') k;
reset role;
select results_eq($$ select command_id, operation, stripe_id, params, idempotency_key, attempt, created_at from claim $$,
  $$ select id, 'capture_payment_intent', test.intent_id(b), '{}'::jsonb, id::text, 1, '2026-03-10 12:00Z'::timestamptz from c, t $$,
  'it returns what Stripe must be told, under the command''s own uuid as key');
select results_eq($$ select status::text, locked_by, lease_until, attempts from booking.stripe_commands $$,
  $$ values ('running', 'shim-1', '2026-03-10 12:01Z'::timestamptz, 1) $$, 'a lease is taken; a claim counts as an attempt');
select is_empty($$ select k.* from c, booking.claim_stripe_command(c.id, 'shim-2') k $$, 'held by somebody: no row');
select is_empty($$ select k.* from c, booking.claim_stripe_command(c.id, 'shim-1') k $$, 'by oneself too');
select is_empty($$ select * from booking.claim_stripe_command('01890000-0000-7000-8000-000000000001', 'w') $$, 'no such command: no row');
select is_empty($$ select * from booking.claim_stripe_command(null, 'w') $$, 'no id: no row');
select test.set_clock('2026-03-10 12:00:59.999Z');
select is_empty($$ select k.* from c, booking.claim_stripe_command(c.id, 'shim-2') k $$, 'until the lease ends');
select test.set_clock('2026-03-10 12:01Z');
select results_eq($$ select k.attempt, k.idempotency_key from c, booking.claim_stripe_command(c.id, 'shim-2', '5 minutes') k $$,
  $$ select 2, id::text from c $$, 'a lapsed lease passes on, under the same key: nobody knows what the first one did');
select results_eq($$ select locked_by, lease_until from booking.stripe_commands $$,
  $$ values ('shim-2', '2026-03-10 12:06Z'::timestamptz) $$, 'for as long as asked');
do $$ begin perform booking.fail_stripe_command(id, 'shim-2', '{"http_status": 400}', true, '30 seconds') from c; end $$;
select is_empty($$ select k.* from c, booking.claim_stripe_command(c.id, 'shim-3') k $$, 'it waits for its next attempt');
select test.set_clock('2026-03-10 12:01:30Z');
select results_eq($$ select k.attempt, k.idempotency_key from c, booking.claim_stripe_command(c.id, 'shim-3') k $$,
  $$ select 3, id || ':2' from c $$, 'then a new key is used, since the first one is known to have done nothing');
do $$ begin perform booking.complete_stripe_command(id, 'shim-3', test.answer(id)) from c; end $$;
select is_empty($$ select k.* from c, booking.claim_stripe_command(c.id, 'shim-4') k $$, 'finished: no row');
select test.refused($$ select booking.claim_stripe_command('01890000-0000-7000-8000-000000000001', null) $$,
  'PT400', 'invalid_request', '{"field": "worker"}', 'no worker');
select test.refused($$ select booking.claim_stripe_command('01890000-0000-7000-8000-000000000001', '') $$,
  'PT400', 'invalid_request', '{"field": "worker"}', 'a worker without a name');
select test.refused($$ select booking.claim_stripe_command('01890000-0000-7000-8000-000000000001', 'w', null) $$,
  'PT400', 'invalid_request', '{"field": "lease"}', 'no lease');
select test.refused($$ select booking.claim_stripe_command('01890000-0000-7000-8000-000000000001', 'w', '0 s') $$,
  'PT400', 'invalid_request', '{"field": "lease"}', 'a lease of nothing');
select is((select attempts from booking.stripe_commands), 3, 'claims that got nothing counted nothing');
select * from finish();
