-- booking.claim_unknown_command(): a command of which nobody knows what came of it, one after the other.
select * from no_plan();
select test.set_clock('2026-03-10 12:00Z');
create temp table c (n int, what text, b uuid, id uuid);
insert into c (n, what, b) select n, what, test.book() from unnest(array['never sent', 'in hand of another', 'lost answer', 'in hand', 'worker died', 'done', 'dead']) with ordinality u (what, n);
do $$ begin perform test.authorize(b) from c; end $$;
update c set id = test.confirm(b);
do $$ begin
  perform booking.claim_stripe_command(id, 'w', '5 minutes') from c where what not in ('never sent', 'in hand of another');
  perform booking.fail_stripe_command(id, 'w', '{"type": "api_connection_error"}', true, '2 hours') from c where what = 'lost answer';
  perform booking.complete_stripe_command(id, 'w', test.answer(id)) from c where what = 'done';
  perform booking.fail_stripe_command(id, 'w', '{"type": "invalid_request_error", "http_status": 400}', false) from c where what = 'dead';
end $$;
select test.set_clock('2026-03-10 12:04Z');
do $$ begin perform booking.claim_stripe_command(id, 'w2', '10 minutes') from c where what = 'in hand of another'; end $$;
select test.set_clock('2026-03-10 12:05Z');
create function pg_temp.asked() returns text[] language plpgsql as $$
declare
  v_row record;
  v_all text[] := '{}';
  v_after uuid;
begin
  loop
    select * into v_row from booking.claim_unknown_command(p_worker => 'asker', p_lease => '1 minute', p_after => v_after);
    exit when not found;
    v_all := v_all || (select what from c where id = v_row.command_id);
    v_after := v_row.command_id;
  end loop;
  return v_all;
end
$$;
grant select on c to booking_app;
select is(pg_temp.asked(), (select array_agg(what order by id) from c where what in ('lost answer', 'in hand', 'worker died')),
  'those that were sent and wait, however long, and those whose lease has lapsed; not what somebody holds, what was never sent, what is done or dead');
select is(pg_temp.asked(), '{}', 'claimed, they are in hand');
select results_eq($$ select distinct status::text, locked_by, lease_until from booking.stripe_commands where locked_by = 'asker' $$,
  $$ values ('running', 'asker', '2026-03-10 12:06Z'::timestamptz) $$, 'for the time of a lease');

-- looked up, and nothing was to be seen: as it was
create temp table before as select id, run_at from booking.stripe_commands where id = (select id from c where what = 'lost answer');
do $$ begin perform booking.fail_stripe_command(id, 'asker', '{"type": "looked_up"}', true) from before; end $$;
select results_eq('select status::text, attempts, key_generation, run_at from booking.stripe_commands join before using (id, run_at)',
  $$ values ('pending', 1, 1, '2026-03-10 14:00Z'::timestamptz) $$, 'put back, it is as it was: attempts, key and turn');
select is_empty($$ select x.* from before, booking.claim_unknown_command('asker', p_after => before.id) x $$, 'p_after: whoever goes on behind it does not meet it again');
-- looked up, and there it was
create temp table again as select x.* from booking.claim_unknown_command('asker', '1 minute') x;
select results_eq('select command_id, operation, stripe_id, params, idempotency_key, attempt, created_at, run_at from again',
  $$ select id, 'capture_payment_intent', test.intent_id(b), '{}'::jsonb, id::text, 2, '2026-03-10 12:00Z'::timestamptz, '2026-03-10 14:00Z'::timestamptz from c where what = 'lost answer' $$,
  'it says what was asked of Stripe');
do $$ begin perform booking.complete_stripe_command(command_id, 'asker', test.answer(command_id)) from again; end $$;
select is(test.state(b), 'confirmed/captured', 'its effect was there: done') from c where what = 'lost answer';
select test.refused('select booking.claim_unknown_command(null)', 'PT400', 'invalid_request', '{"field": "worker"}', 'no worker');
select test.refused('select booking.claim_unknown_command(''w'', ''0'')', 'PT400', 'invalid_request', '{"field": "lease"}', 'a lease of nothing');
set local role booking_app;
select is_empty($$ select * from booking.claim_unknown_command('asker') $$, 'the server may ask');
reset role;
select * from finish();
