-- booking.refunds_counted(): what of a payment counts as given back already.
select plan(16);
create temp table t as select test.captured_booking() as b;
create function pg_temp.counted() returns bigint language sql as $$ select booking.refunds_counted((test.payment(b)).id) from t $$;
select is(booking.refunds_counted('01890000-0000-7000-8000-000000000001'), null, 'no payment, nothing to count');
select is(pg_temp.counted(), 0::bigint, 'nothing yet');
do $$ begin perform test.event('refund.created', test.refund(b, 700, 're_a', 'pending')) from t; end $$;
select is(pg_temp.counted(), 700::bigint, 'a refund on its way counts');
do $$ begin perform test.event('refund.failed', test.refund(b, 700, 're_a', 'failed')) from t; end $$;
select is(pg_temp.counted(), 700::bigint, 'a refund that failed counts on: a person pays it, it is never sent again');
do $$ begin perform test.event('charge.refunded', test.charge(b, true, 1000)) from t; end $$;
select is(pg_temp.counted(), 1000::bigint, 'what only the charge shows counts beyond the refunds known one by one');
create temp table c as
  select booking.queue_stripe_command((test.payment(b)).id, 'create_refund', test.intent_id(b), 500) as id from t;
select is(pg_temp.counted(), 1500::bigint, 'a waiting command counts');
do $$ begin perform booking.claim_stripe_command(id, 'w') from c; end $$;
do $$ begin perform test.event('refund.created', test.refund(b, 500, 're_b', 'pending', id)) from t, c; end $$;
select is(pg_temp.counted(), 1200::bigint, 'a command whose refund is known counts once: 700 failed + 500');
do $$ begin perform booking.complete_stripe_command(id, 'w', test.refund(b, 500, 're_b', 'succeeded', id)) from t, c; end $$;
select is(pg_temp.counted(), 1200::bigint, 'its answer changes nothing');
insert into booking.stripe_commands (id, payment_id, operation, stripe_id, params, status)
  select booking.new_id(p_near => (test.payment(b)).id), (test.payment(b)).id, 'create_refund', test.intent_id(b), '{"amount": 100}', 'dead' from t;
select is(pg_temp.counted(), 1300::bigint, 'a dead command counts: nobody knows whether Stripe did it');
insert into booking.stripe_commands (id, payment_id, operation, stripe_id, params, status, outcome)
  select booking.new_id(p_near => (test.payment(b)).id), (test.payment(b)).id, 'create_refund', test.intent_id(b), '{"amount": 40}', 'done', o
  from t, unnest(array['superseded', 'refused']::booking.command_outcome[]) o;
select is(pg_temp.counted(), 1300::bigint, 'a superseded or refused command does not');
insert into booking.stripe_commands (id, payment_id, operation, stripe_id, params, status)
  select booking.new_id(p_near => (test.payment(b)).id), (test.payment(b)).id, 'create_refund', 'pi_stray', '{"amount": 5000}', 'pending' from t;
select is(pg_temp.counted(), 1300::bigint, 'the refund of a stray PaymentIntent is not this payment''s');
-- of requests: those approved while the booking lived, each once; those approved afterwards are on top
create temp table u as select test.captured_booking('10 hours') as b;
create function pg_temp.policy() returns bigint language sql as $$ select booking.refunds_counted((test.payment(b)).id) from u $$;
create temp table q as select test.ask(b, 1000) as id from u;
select is(pg_temp.policy(), 0::bigint, 'what is asked for does not count');
do $$ begin perform test.approve(id) from q; perform test.ask(b, 200) from u; perform test.approve(r.id) from booking.refund_requests r where r.amount = 200; end $$;
select is(pg_temp.policy(), 1200::bigint, 'what is approved counts, also before its command');
do $$ begin perform booking.cancel_booking_transaction(test.student(b), b) from u; perform test.run_commands(b) from u; perform test.approve(test.ask(b, 800)) from u; end $$;
select is(pg_temp.policy(), 2500::bigint, 'on top of it: what was approved afterwards');
do $$ begin perform test.run_commands(b) from u; perform test.fail_refund((test.request(id)).command_id) from q; end $$;
select is(pg_temp.policy(), 2500::bigint, 'a request whose refund failed counts on');
do $$ begin perform test.fail_refund(r.command_id) from booking.refund_requests r where r.amount = 800; perform test.approve(q.id), test.approve(r.id) from q, booking.refund_requests r where r.amount = 800;
  perform test.run_commands(b) from u; end $$;
select is(pg_temp.policy(), 2500::bigint, 'approved anew it counts once, and what is on top stays there');
select * from finish();
