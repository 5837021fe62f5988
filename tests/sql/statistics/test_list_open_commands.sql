-- booking.list_open_commands(): what Stripe has still to be told.
select * from no_plan();
select is_empty('select * from booking.list_open_commands()', 'nothing to tell');
create temp table b (name text, id uuid, command_id uuid);
do $$ declare v_name text; v_id uuid; begin
  foreach v_name in array array['pending', 'running', 'dead', 'done'] loop
    v_id := test.book();
    perform test.authorize(v_id);
    insert into b values (v_name, v_id, test.confirm(v_id));
  end loop;
  perform booking.claim_stripe_command(command_id, 'w', '5 minutes') from b where name = 'running';
  perform booking.claim_stripe_command(command_id, 'w'), booking.fail_stripe_command(command_id, 'w', '{"code": "card_declined", "http_status": 402}', false)
  from b where name = 'dead';
  perform test.run_command(command_id) from b where name = 'done';
end $$;
select results_eq('select command_id, status::text, payment_id, stripe_id, created_at from booking.list_open_commands()',
  $$ select b.command_id, b.name, (test.payment(b.id)).id, test.intent_id(b.id), c.created_at
     from b join booking.stripe_commands c on c.id = b.command_id where b.name <> 'done' order by c.created_at, c.id $$,
  'what waits, what is under way and what is dead, oldest first; not what is done');
select results_eq($$ select attempts, last_error ->> 'code', lease_until is not null, order_id from booking.list_open_commands() where status <> 'pending' order by status $$,
  $$ values (1, null, true, null::uuid), (1, 'card_declined', false, null) $$, 'with the lease of who has it, and what Stripe said last');
do $$ begin perform booking.queue_session_expiry(test.open_order()); end $$;
select is((select count(*) from booking.list_open_commands() where order_id is not null), 1::bigint, 'those of orders, too');
select is((select count(*) from booking.list_open_commands(p_limit => 2)), 2::bigint, 'no more than asked for');
select test.refused('select * from booking.list_open_commands(p_limit => ' || coalesce(n::text, 'null') || ')', 'PT400', 'invalid_request', '{"field": "limit"}',
  'not ' || coalesce(n::text, 'null')) from unnest(array[0, 10001, null]) n;
select * from finish();
