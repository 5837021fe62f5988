-- booking.queue_stripe_command(): writes one wish into the outbox.
select plan(9);
select test.set_clock('2026-03-10 12:00Z');
create temp table t as select test.captured_booking() as b;
create temp table p as select (test.payment(b)).id, (test.payment(b)).stripe_payment_intent_id as pi, b from t;
create temp table c as select booking.queue_stripe_command(id, 'create_refund', pi, 1200) as id from p;
select results_eq($$ select k.operation, k.stripe_id, k.status::text, k.attempts, k.key_generation, k.run_at, k.created_at, k.payment_id
                     from booking.stripe_commands k join c using (id) $$,
  $$ select 'create_refund', pi, 'pending', 0, 1, '2026-03-10 12:00Z'::timestamptz, '2026-03-10 12:00Z'::timestamptz, id from p $$,
  'a refund waits in the outbox, due at once');
select is((select params from booking.stripe_commands join c using (id)),
  (select jsonb_build_object('payment_intent', p.pi, 'amount', 1200, 'metadata', jsonb_build_object('payment_id', p.id, 'command_id', c.id)) from p, c),
  'a refund names its amount, and carries our ids so that it can be found again at Stripe');
select is(booking.shard_of(c.id), booking.shard_of(p.id), 'a command''s id lives in its payment''s shard') from c, p;
select is(booking.queue_stripe_command(id, 'cancel_payment_intent', pi, null), null, 'with one open nothing is queued') from p;
select is((select count(*) from booking.stripe_commands where status in ('pending', 'running')), 1::bigint, 'and nothing is written');
do $$ begin perform booking.claim_stripe_command(id, 'w') from c; end $$;
select is(booking.queue_stripe_command(id, 'create_refund', pi, 1), null, 'a running one is open too') from p;
select isnt(booking.queue_stripe_command(id, 'cancel_payment_intent', 'pi_another', null), null, 'another PaymentIntent has its own') from p;
select is((select params from booking.stripe_commands where stripe_id = 'pi_another'), '{}'::jsonb, 'capture and cancel need no body');
select throws_ok($$ insert into booking.stripe_commands (id, payment_id, operation, stripe_id)
    select booking.new_id(p_near => id), id, 'create_refund', pi from p $$, '23505',
  'duplicate key value violates unique constraint "stripe_commands_one_open"', 'the table itself holds one open command a PaymentIntent');
select * from finish();
