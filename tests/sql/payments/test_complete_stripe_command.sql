-- booking.complete_stripe_command(): Stripe did what a command asked; its object is applied like an event.
select plan(31);
create temp table t (n text, b uuid, id uuid);
create function pg_temp.b(p_n text) returns uuid language sql as $$ select b from t where n = p_n $$;
create function pg_temp.id(p_n text) returns uuid language sql as $$ select id from t where n = p_n $$;
-- a confirmed booking whose capture worker w has claimed
create function pg_temp.capturing(p_n text, p_slot uuid default null) returns void language plpgsql as $$
declare v_b uuid := test.book(p_slot);
begin
  perform test.authorize(v_b);
  insert into t values (p_n, v_b, test.confirm(v_b));
  perform booking.claim_stripe_command(pg_temp.id(p_n), 'w');
end $$;
do $$ begin perform pg_temp.capturing(n) from unnest(array['plain', 'lost', 'lapsed', 'in flight', 'late', 'said otherwise', 'unnamed']) n; end $$;
grant all on t to booking_app;

grant usage on schema test to booking_app;
set local role booking_app;
select test.refused($$ select booking.complete_stripe_command(pg_temp.id('plain'), 'w', null) $$,
  'PT400', 'invalid_request', '{"field": "response"}', 'no answer');
select test.refused($$ select booking.complete_stripe_command(pg_temp.id('plain'), 'w', '[]') $$,
  'PT400', 'invalid_request', '{"field": "response"}', 'an answer that is no object');
select test.refused($$ select booking.complete_stripe_command(pg_temp.id('plain'), 'w', '{}') $$,
  'PT400', 'invalid_request', '{"field": "response"}', 'an object without an id');
select test.refused($$ select booking.complete_stripe_command('01890000-0000-7000-8000-000000000001', 'w', '{"id": "pi"}') $$,
  'PT404', 'command_not_found', '{"command_id": "01890000-0000-7000-8000-000000000001"}', 'no such command');
reset role;
select is((select status::text from booking.stripe_commands where id = pg_temp.id('plain')), 'running', 'a refusal changes nothing');

select is(booking.complete_stripe_command(pg_temp.id('plain'), 'w', test.answer(pg_temp.id('plain'))), true, 'the worker still held it');
select is(test.state(pg_temp.b('plain')), 'confirmed/captured', 'the object is applied');
select results_eq($$ select status::text, outcome::text, locked_by, lease_until, last_error from booking.stripe_commands where id = pg_temp.id('plain') $$,
  $$ values ('done', 'applied', null::text, null::timestamptz, null::jsonb) $$, 'the command is done');
select is((select source from booking.transfers where payment_id = (test.payment(pg_temp.b('plain'))).id), pg_temp.id('plain')::text,
  'the ledger names the command as its source');
select is(booking.complete_stripe_command(pg_temp.id('plain'), 'w', test.answer(pg_temp.id('plain'))), false, 'the same answer again');
select is((select count(*) from booking.transfers where payment_id = (test.payment(pg_temp.b('plain'))).id), 1::bigint, 'has no second effect');

select is(booking.complete_stripe_command(pg_temp.id('unnamed'), 'w', test.answer(pg_temp.id('unnamed')) || '{"object": "thing"}'), true,
  'an object that says to be another one');
select is(test.state(pg_temp.b('unnamed')), 'confirmed/captured', 'is taken for what was asked for');

select is(booking.complete_stripe_command(pg_temp.id('lost'), 'somebody else', test.answer(pg_temp.id('lost'))), false,
  'compare and set: who does not hold it finishes nothing');
select is(test.state(pg_temp.b('lost')), 'confirmed/captured', 'the answer is true all the same, and applied');
select is(test.commands(pg_temp.b('lost')), array['capture_payment_intent running'], 'the command stays with its holder');
select is(booking.complete_stripe_command(pg_temp.id('lost'), 'w', test.answer(pg_temp.id('lost'))), true, 'who finishes it');
select is(test.commands(pg_temp.b('lost')), array['capture_payment_intent done/applied'], 'once');

update booking.stripe_commands set lease_until = booking.clock() - interval '1 minute' where id = pg_temp.id('lapsed');
select is(booking.complete_stripe_command(pg_temp.id('lapsed'), 'w', test.answer(pg_temp.id('lapsed'))), true,
  'a lapsed lease that nobody took over is still held');

-- what was decided while the answer was on its way
do $$ begin perform booking.cancel_booking_transaction(test.student(pg_temp.b('in flight')), pg_temp.b('in flight')); end $$;
select is(test.commands(pg_temp.b('in flight')), array['capture_payment_intent running'], 'a release waits while a capture is at Stripe');
do $$ begin perform booking.complete_stripe_command(pg_temp.id('in flight'), 'w', test.answer(pg_temp.id('in flight'))); end $$;
select is(test.commands(pg_temp.b('in flight')), array['capture_payment_intent done/applied', 'create_refund pending'], 'and becomes a refund');
select is((select params ->> 'amount' from booking.stripe_commands where id = test.open_command(pg_temp.b('in flight'))), '5000', 'by the policy');

-- dead already
update booking.stripe_commands set status = 'dead', locked_by = null, lease_until = null where id = pg_temp.id('late');
select is(booking.complete_stripe_command(pg_temp.id('late'), 'w', test.answer(pg_temp.id('late'))), false, 'an answer after the command was given up');
select is(test.state(pg_temp.b('late')), 'confirmed/captured', 'is applied too');

-- a canceled PaymentIntent frees the seat
do $$ begin perform booking.complete_stripe_command(pg_temp.id('said otherwise'), 'w', test.intent(pg_temp.b('said otherwise'), 'canceled')); end $$;
select is(test.state(pg_temp.b('said otherwise')), 'cancelled/cancelled', 'what Stripe says is applied, whatever was asked');
select is(test.seats_taken((test.booking(pg_temp.b('said otherwise'))).slot_id), 0, 'with the seat');

-- a command for an order
create temp table o as select test.open_order() as id, test.open_order() as lost;
create temp table oc as select booking.queue_session_expiry(id) as id, booking.queue_session_expiry(lost) as lost from o;
do $$ begin perform booking.claim_stripe_command(oc.id, 'w'), booking.claim_stripe_command(oc.lost, 'w') from oc; end $$;
select is(booking.complete_stripe_command(oc.id, 'w', test.checkout_session(o.id, 'expired') - 'metadata'), true, 'a session was ended') from o, oc;
select is((test.order_row(id)).status || test.order_commands(id)::text, 'expired{"expire_checkout_session done/applied"}', 'and its order with it') from o;
select is(booking.complete_stripe_command(oc.lost, 'somebody else', test.checkout_session(o.lost, 'expired')), false, 'who lost the lease') from o, oc;
select is((test.order_row(lost)).status || test.order_commands(lost)::text, 'expired{"expire_checkout_session running"}', 'is believed all the same') from o;
select is_empty($$ select * from booking.check_invariants() $$, 'and all the books are right');
select * from finish();
