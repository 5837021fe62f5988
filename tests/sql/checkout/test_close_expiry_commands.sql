-- booking.close_expiry_commands(): a session that ended in another way.
select plan(7);
select test.set_clock('2026-03-10 12:00Z');
create temp table o (n text, id uuid, c uuid);
insert into o select n, test.open_order() from unnest(array['waiting', 'dead', 'sent', 'running']) n;
update o set c = booking.queue_session_expiry(id);
do $$ begin
  perform booking.claim_stripe_command(c, 'w') from o where n <> 'waiting';
  perform booking.fail_stripe_command(c, 'w', '{"type": "invalid_request_error", "http_status": 400}', false) from o where n = 'dead';
  perform booking.fail_stripe_command(c, 'w', '{"type": "api_connection_error"}', true) from o where n = 'sent';
end $$;
select is(test.open_alerts(c::text), '{command_dead}', 'the dead one has an alert') from o where n = 'dead';
do $$ begin perform booking.close_expiry_commands(id) from o; end $$;
select results_eq('select n, test.order_commands(id) from o order by 1', $$ values ('dead', '{expire_checkout_session done/refused}'::text[]),
  ('running', '{expire_checkout_session running}'), ('sent', '{expire_checkout_session pending}'), ('waiting', '{expire_checkout_session done/refused}') $$,
  'what was never sent and what is dead is closed; what was sent is left to its outcome');
select is(test.open_alerts(c::text), '{}', 'the alert is resolved') from o where n = 'dead';
select is((select resolved_by from booking.alerts), 'stripe', 'by Stripe');
select lives_ok($$ select booking.close_expiry_commands(id) from o $$, 'again it finds nothing');
-- a newer order began, then the customer paid for the older one in a way that takes days
create temp table p as select product, test.open_order('ann', product) as older from test.make_product() product;
do $$ begin perform test.open_order('ann', product) from p; end $$;
do $$ begin perform test.event('checkout.session.completed', test.checkout_session(older, 'complete', 'unpaid')) from p; end $$;
select is((test.order_row(older)).status || ' ' || test.order_commands(older)::text, 'pending {"expire_checkout_session done/refused"}',
  'a complete session cannot be ended while its bank has still to answer') from p;
select is_empty($$ select * from booking.check_invariants() where subject = (select older::text from p) $$, 'and that is as it must be');
select * from finish();
