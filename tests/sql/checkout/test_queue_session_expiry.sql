-- booking.queue_session_expiry(): asks Stripe to end an order's session.
select plan(8);
select test.set_clock('2026-03-10 12:00Z');
create temp table o as select test.open_order() as id, test.begin_order() as without;
create temp table c as select booking.queue_session_expiry(id) as id from o;
select results_eq('select k.operation, k.stripe_id, k.order_id, k.payment_id, k.params, k.status::text, k.run_at from booking.stripe_commands k join c using (id)',
  $$ select 'expire_checkout_session', test.session_id(id), id, null::uuid, '{}'::jsonb, 'pending', '2026-03-10 12:00Z'::timestamptz from o $$, 'the wish is in the outbox');
select is(booking.shard_of(c.id), booking.shard_of(o.id), 'in the order''s shard') from c, o;
select is(booking.queue_session_expiry(id), null, 'once') from o;
do $$ begin perform booking.claim_stripe_command(id, 'w'), booking.complete_stripe_command(id, 'w', (select test.checkout_session(o.id, 'expired') from o)) from c; end $$;
select is(booking.queue_session_expiry(id), null, 'not again when it is done') from o;
select is(booking.queue_session_expiry(without), null, 'without a session there is nothing to end') from o;
select is((select count(*) from booking.stripe_commands), 1::bigint, 'one command');
select throws_ok($$ insert into booking.stripe_commands (id, operation, stripe_id) values (gen_random_uuid(), 'expire_checkout_session', 'x') $$, '23514', null,
  'a command belongs to a payment or to an order');
select throws_ok($$ insert into booking.stripe_commands (id, operation, stripe_id, payment_id, order_id)
  values (gen_random_uuid(), 'expire_checkout_session', 'x', gen_random_uuid(), gen_random_uuid()) $$, '23514', null, 'not to both');
select * from finish();
