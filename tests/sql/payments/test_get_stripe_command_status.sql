-- booking.get_stripe_command_status(): where a Stripe command stands.
select plan(5);
create temp table t as select n, test.book() as b from generate_series(1, 2) n;
do $$ begin perform test.authorize(b) from t; end $$;
create temp table c as select n, test.confirm(b) as id from t;
grant select on c to booking_app;
set local role booking_app;
select is(booking.get_stripe_command_status(id), 'pending', 'waiting') from c where n = 1;
do $$ begin perform booking.claim_stripe_command(id, 'w') from c; end $$;
select is(booking.get_stripe_command_status(id), 'running', 'claimed') from c where n = 1;
reset role;
do $$ begin perform booking.complete_stripe_command(id, 'w', test.answer(id)) from c where n = 1;
  perform booking.fail_stripe_command(id, 'w', '{"http_status": 400}', false) from c where n = 2; end $$;
select is(booking.get_stripe_command_status(id), 'done', 'carried out') from c where n = 1;
select is(booking.get_stripe_command_status(id), 'dead', 'given up') from c where n = 2;
select is(booking.get_stripe_command_status('01890000-0000-7000-8000-000000000001'), null, 'no such command: null');
select * from finish();
