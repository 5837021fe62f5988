-- booking.refunds_counted(): what of a payment counts as given back already.
select plan(11);
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
select * from finish();
