-- booking.on_request(): who acts and under which request, until the end of the transaction.
select * from no_plan();
select is(booking.on_request('req-1', 'ann'), 'ann', 'it returns the person, so that it can stand in an argument');
select is(array[current_setting('booking.request_id'), current_setting('booking.actor')], '{req-1, ann}', 'both are set for the transaction');
select is(booking.on_request(null, 'bob'), 'bob', 'without a request id');
select is(array[current_setting('booking.request_id'), current_setting('booking.actor')], '{req-1, bob}', 'the one that was set stays');
select is(booking.on_request('req-2', null), null, 'nobody is passed on as nobody');
select is(array[current_setting('booking.request_id'), current_setting('booking.actor')], array['req-2', ''], 'and nobody is the actor');
do $$ begin perform booking.on_request(repeat('x', 500), 'ann'); end $$;
select is(length(current_setting('booking.request_id')), 128, 'a long request id is cut');

create temp table b as select test.book() as id;
grant select on b to booking_app;
grant usage on schema test to booking_app;
select is((select c.status::text from booking.cancel_booking_transaction(booking.on_request('req-3', test.student(id)), id) c), 'cancelled', 'in an argument') from b;
select results_eq($$ select e.actor, e.request_id from booking.booking_events e, b where e.booking_id = b.id $$,
  $$ select test.student(id), 'req-3' from b $$, 'it is set before the function runs');
create temp table c as select test.captured_booking('30 hours') as id;
do $$ begin perform booking.cancel_booking_transaction(
  p_actor_id => test.expert(id), p_booking_id => (select id from booking.on_request('req-4', 'x'))) from c; end $$;
select is((select o.request_id from booking.stripe_commands o where o.id = test.open_command(c.id)), 'req-4',
  'a scalar subquery in an argument does the same, and the command to Stripe carries the request') from c;
select * from finish();
