-- booking.fail_stripe_command(): a call that did not do what it should, or nobody knows. Every branch of the judgement.
select * from no_plan();
select test.set_clock('2026-03-10 12:00Z');
create temp table t (n text, b uuid, id uuid);
create function pg_temp.b(p_n text) returns uuid language sql as $$ select b from t where n = p_n $$;
create function pg_temp.id(p_n text) returns uuid language sql as $$ select id from t where n = p_n $$;
create function pg_temp.row(p_n text) returns booking.stripe_commands language sql as $$
  select c from booking.stripe_commands c where c.id = pg_temp.id(p_n) $$;
-- a command that worker w has claimed: of a confirmed booking, of a declined one, of a cancelled captured one
create function pg_temp.claimed(p_n text, p_operation text default 'capture_payment_intent') returns void language plpgsql as $$
declare v_b uuid := test.book();
begin
  if p_operation = 'create_refund' then
    perform test.capture(v_b);
    insert into t select p_n, v_b, c.command_id from booking.cancel_booking_transaction(test.expert(v_b), v_b) c;
  else
    perform test.authorize(v_b);
    insert into t select p_n, v_b, c.command_id from booking.confirm_booking_transaction(test.expert(v_b), v_b,
      case p_operation when 'capture_payment_intent' then 'confirm' else 'decline' end) c;
  end if;
  perform booking.claim_stripe_command(pg_temp.id(p_n), 'w');
end $$;
create function pg_temp.fail(p_n text, p_error jsonb, p_retryable boolean default true, p_retry_after interval default null, p_worker text default 'w')
returns boolean language sql as $$ select booking.fail_stripe_command(pg_temp.id(p_n), p_worker, p_error, p_retryable, p_retry_after) $$;
create function pg_temp.said(p_n text) returns text language sql as $$
  select format('%s attempt %s key %s', c.status || coalesce('/' || c.outcome, ''), c.attempts, c.key_generation)
  from booking.stripe_commands c where c.id = pg_temp.id(p_n) $$;
create function pg_temp.alerts(p_subject text) returns text[] language sql as $$
  select coalesce(array_agg(a.kind order by a.kind), '{}') from booking.alerts a where a.subject = p_subject and a.resolved_at is null $$;
-- Stripe's error about a PaymentIntent in this status
create function pg_temp.refusal(p_n text, p_code text, p_status text) returns jsonb language sql as $$
  select jsonb_build_object('type', 'invalid_request_error', 'code', p_code, 'http_status', 400,
    'payment_intent', test.intent(pg_temp.b(p_n), p_status)) $$;

-- -- bad input
do $$ begin perform pg_temp.claimed('plain'); end $$;
grant all on t to booking_app;
grant usage on schema test to booking_app;
set local role booking_app;
select test.refused($$ select booking.fail_stripe_command(pg_temp.id('plain'), 'w', null, true) $$,
  'PT400', 'invalid_request', '{"field": "error"}', 'no error');
select test.refused($$ select booking.fail_stripe_command(pg_temp.id('plain'), 'w', '"boom"', true) $$,
  'PT400', 'invalid_request', '{"field": "error"}', 'an error that is no object');
select test.refused($$ select booking.fail_stripe_command(pg_temp.id('plain'), 'w', '{}', null) $$,
  'PT400', 'invalid_request', '{"field": "retryable"}', 'not said whether it is tried again');
select test.refused($$ select booking.fail_stripe_command('01890000-0000-7000-8000-000000000001', 'w', '{}', true) $$,
  'PT404', 'command_not_found', '{"command_id": "01890000-0000-7000-8000-000000000001"}', 'no such command');
reset role;
select is(pg_temp.said('plain'), 'running attempt 1 key 1', 'a refusal changes nothing');

-- -- the outcome is unknown: the same key again
select is(pg_temp.fail('plain', '{"type": "api_connection_error", "message": "reset"}'), true, 'no answer came; the worker held it');
select is(pg_temp.said('plain'), 'pending attempt 1 key 1', 'no answer: again, under the same key');
select results_eq($$ select (pg_temp.row('plain')).last_error, (pg_temp.row('plain')).locked_by, (pg_temp.row('plain')).lease_until $$,
  $$ values ('{"type": "api_connection_error", "message": "reset"}'::jsonb, null::text, null::timestamptz) $$, 'the error is kept, the lease given back');
select is(test.state(pg_temp.b('plain')), 'confirmed/authorized', 'the booking stays');
create function pg_temp.once(p_n text, p_error jsonb) returns text language plpgsql as $$
begin
  perform pg_temp.claimed(p_n);
  perform pg_temp.fail(p_n, p_error);
  return pg_temp.said(p_n);
end $$;
select is(pg_temp.once('409', '{"http_status": 409}'), 'pending attempt 1 key 1', '409: the same key');
select is(pg_temp.once('429', '{"http_status": 429}'), 'pending attempt 1 key 1', '429: the same key');
select is(pg_temp.once('500', '{"http_status": 500}'), 'pending attempt 1 key 1', 'a 5xx that Stripe did not save: the same key');
select is(pg_temp.once('503', '{"http_status": 503, "idempotent_replayed": false}'), 'pending attempt 1 key 1', 'said to be fresh: the same key');
select is(pg_temp.once('401', '{"http_status": 401}'), 'pending attempt 1 key 1', '401: the same key');
select is(pg_temp.once('403', '{"http_status": 403}'), 'pending attempt 1 key 1', '403: the same key');
-- -- nothing happened for certain: a new key
select is(pg_temp.once('500r', '{"http_status": 500, "idempotent_replayed": true}'), 'pending attempt 1 key 2', 'a replayed 5xx: a new key');
select is(pg_temp.once('400', '{"http_status": 400}'), 'pending attempt 1 key 2', 'a 400: a new key');
select is(pg_temp.once('402', '{"http_status": 402}'), 'pending attempt 1 key 2', 'a 402: a new key');
select is(pg_temp.once('404', '{"http_status": 404}'), 'pending attempt 1 key 2', 'a 404: a new key');
select is(pg_temp.once('409r', '{"http_status": 409, "idempotent_replayed": true}'), 'pending attempt 1 key 1', 'a replayed 409 is still unknown');
select test.set_clock('2026-03-10 12:00:01Z');
select is((select idempotency_key from booking.claim_stripe_command(pg_temp.id('500r'), 'w')), pg_temp.id('500r') || ':2', 'the new key is uuid:2');
do $$ begin perform pg_temp.fail('500r', '{"http_status": 500, "idempotent_replayed": true}'); end $$;
select test.set_clock('2026-03-10 12:01Z');
select is((select idempotency_key from booking.claim_stripe_command(pg_temp.id('500r'), 'w')), pg_temp.id('500r') || ':3', 'then uuid:3');
do $$ begin perform pg_temp.fail('500r', '{"http_status": 500}'); end $$;
select is(pg_temp.said('500r'), 'pending attempt 3 key 3', 'and the same again when the outcome of that is unknown');

-- -- a refused key
select is(pg_temp.alerts('stripe'), array['stripe_credentials'], '401 and 403 raise one alert');
select results_eq($$ select times, detail from booking.alerts where subject = 'stripe' $$, $$ values (2, '{"http_status": 403, "code": null}'::jsonb) $$,
  'that counts up');
create function pg_temp.rotated(p_n text, p_times int) returns text language plpgsql as $$
begin
  for i in 1..p_times loop
    perform test.set_clock('2026-03-10 13:00Z'::timestamptz + i * interval '1 day');
    perform booking.claim_stripe_command(pg_temp.id(p_n), 'w');
    perform pg_temp.fail(p_n, '{"http_status": 401}');
  end loop;
  return pg_temp.said(p_n);
end $$;
update booking.settings set command_max_attempts = 3;
select is(pg_temp.rotated('401', 10), 'pending attempt 1 key 1', 'a refused key never uses up the attempts');
select is(pg_temp.alerts(pg_temp.id('401')::text), '{}', 'nor kills the command');
select ok((pg_temp.row('401')).run_at between booking.clock() + interval '32 s' and booking.clock() + interval '64 s', 'it is tried about once a minute');
select test.set_clock('2026-03-22 12:00Z');
do $$ begin perform booking.claim_stripe_command(pg_temp.id('401'), 'w'); perform pg_temp.fail('401', '{"http_status": 500}'); end $$;
select is(pg_temp.said('401'), 'pending attempt 2 key 1', 'a failure after the key was mended has all its attempts left');
select test.set_clock('2026-03-23 12:00Z');
do $$ begin perform booking.claim_stripe_command(pg_temp.id('401'), 'w'); perform pg_temp.fail('401', '{"http_status": 401}', false); end $$;
select is(pg_temp.said('401'), 'pending attempt 2 key 1', 'whatever the caller makes of it');
select is(test.state(pg_temp.b('401')), 'confirmed/authorized', 'nobody''s booking ends by a refused key');
select is(test.commands(pg_temp.b('401')), array['capture_payment_intent pending'], 'nor is its capture given up for a release');
update booking.settings set command_max_attempts = 25;
select test.set_clock('2026-03-10 12:00Z');

-- -- when it is tried again
select is(pg_temp.once('soon', '{}'), 'pending attempt 1 key 1', 'a first failure');
select ok((pg_temp.row('soon')).run_at between booking.clock() + interval '0.5 s' and booking.clock() + interval '1 s', 'waits half a second to one');
do $$ begin perform pg_temp.claimed('asked'); perform pg_temp.fail('asked', '{"http_status": 429}', true, '90 seconds'); end $$;
select is((pg_temp.row('asked')).run_at, booking.clock() + interval '90 s', 'Retry-After is honoured');
-- attempts 2, 5 and 30 of thirty commands each, to see the spread
create function pg_temp.waits(p_attempts int, p_retry_after interval default null) returns interval[] language plpgsql as $$
declare v_waits interval[];
begin
  perform pg_temp.claimed('spread');
  for i in 1..40 loop
    update booking.stripe_commands set status = 'running', locked_by = 'w', lease_until = booking.clock(), attempts = p_attempts
    where id = pg_temp.id('spread');
    perform pg_temp.fail('spread', '{}', true, p_retry_after);
    v_waits := v_waits || (pg_temp.row('spread')).run_at - booking.clock();
  end loop;
  delete from t where n = 'spread';
  return v_waits;
end $$;
update booking.settings set command_max_attempts = 100;
select ok(min(w) >= '1 s' and max(w) <= '2 s' and count(distinct w) > 5, 'the second failure waits one to two seconds, with jitter')
  from unnest(pg_temp.waits(2)) w;
select ok(min(w) >= '8 s' and max(w) <= '16 s' and count(distinct w) > 5, 'the fifth 8 to 16') from unnest(pg_temp.waits(5)) w;
select ok(min(w) = '2 hours' and max(w) = '2 hours', 'it is capped') from unnest(pg_temp.waits(30)) w;
select ok(min(w) = '2 hours' and max(w) = '2 hours', 'also far beyond') from unnest(pg_temp.waits(99)) w;
select ok(min(w) = '10 s', 'Retry-After is a minimum') from unnest(pg_temp.waits(4, '10 s')) w where w <= '10 s';
select ok(min(w) >= '8 s', 'a shorter one shortens nothing') from unnest(pg_temp.waits(5, '1 s')) w;
select ok(min(w) = '3 hours', 'a longer one than the cap is honoured') from unnest(pg_temp.waits(30, '3 hours')) w;
update booking.settings set command_max_attempts = 25;

-- -- nothing was sent
select is(pg_temp.once('busy', '{"type": "gateway_busy"}'), 'pending attempt 0 key 1', 'gateway_busy is not counted as an attempt');
select is((pg_temp.row('busy')).run_at, booking.clock() + interval '1 s', 'and waits the first backoff');
do $$ begin perform booking.cancel_booking_transaction(test.student(pg_temp.b('busy')), pg_temp.b('busy')); end $$;
select is(test.commands(pg_temp.b('busy')), array['capture_payment_intent done/superseded', 'cancel_payment_intent pending'],
  'so a later decision may take its place');
do $$ begin perform pg_temp.claimed('busy2'); perform pg_temp.fail('busy2', '{"type": "gateway_busy"}', true, '7 s'); end $$;
select is((pg_temp.row('busy2')).run_at, booking.clock() + interval '7 s', 'or as long as was asked');
do $$ begin update booking.stripe_commands set attempts = 24, run_at = booking.clock() where id = pg_temp.id('busy2');
  perform booking.claim_stripe_command(pg_temp.id('busy2'), 'w');
  perform pg_temp.fail('busy2', '{"type": "gateway_busy"}'); end $$;
select is(pg_temp.said('busy2'), 'pending attempt 24 key 1', 'it never uses up the last attempt');
create temp table turn as select run_at from booking.stripe_commands where id = pg_temp.id('busy2');
do $$ begin update booking.stripe_commands set status = 'running', locked_by = 'w', lease_until = booking.clock() + interval '1 min', attempts = 25
    where id = pg_temp.id('busy2');
  perform pg_temp.fail('busy2', '{"type": "looked_up"}', true, '9 s'); end $$;
select is(pg_temp.said('busy2'), 'pending attempt 24 key 1', 'nor does looked_up');
select is((pg_temp.row('busy2')).run_at, turn.run_at, 'whose turn is the same as before') from turn;

-- -- the last attempt, and what is final without a listed code
create function pg_temp.last(p_n text, p_operation text default 'capture_payment_intent') returns text language plpgsql as $$
begin
  perform pg_temp.claimed(p_n, p_operation);
  update booking.stripe_commands set attempts = 25 where id = pg_temp.id(p_n);
  perform pg_temp.fail(p_n, '{"http_status": 500, "code": "boom", "type": "api_error"}');
  return pg_temp.said(p_n);
end $$;
select is(pg_temp.last('dead'), 'dead attempt 25 key 1', 'after the last attempt it is dead');
select results_eq($$ select kind, detail from booking.alerts where subject = pg_temp.id('dead')::text $$,
  $$ select 'command_dead', jsonb_build_object('operation', 'capture_payment_intent', 'stripe_id', test.intent_id(pg_temp.b('dead')),
       'code', 'boom', 'http_status', 500) $$, 'which a person is told');
select is((pg_temp.row('dead')).last_error, '{"http_status": 500, "code": "boom", "type": "api_error"}', 'with what Stripe said last');
select is(test.state(pg_temp.b('dead')), 'confirmed/authorized', 'the booking stays');
select is(test.open_command(pg_temp.b('dead')), null, 'and it is not asked again by itself');
select is(pg_temp.last('dead refund', 'create_refund'), 'dead attempt 25 key 1', 'a refund as well');
select is(test.open_command(pg_temp.b('dead refund')), null, 'which is never sent twice');
do $$ begin perform test.event('charge.captured', test.charge(pg_temp.b('dead refund'), true)); end $$;
select is(test.commands(pg_temp.b('dead refund')), array['capture_payment_intent done/applied', 'create_refund dead'], 'not by a later event either');
do $$ begin perform pg_temp.claimed('final'); perform pg_temp.fail('final', '{"http_status": 400, "code": "parameter_unknown"}', false); end $$;
select is(pg_temp.said('final') || ' ' || test.state(pg_temp.b('final')), 'dead attempt 1 key 1 confirmed/authorized',
  'a code that is not listed: dead, the booking stays');
select is(pg_temp.alerts(pg_temp.id('final')::text), array['command_dead'], 'a person is told');

-- -- a listed code that the object confirms
do $$ begin perform pg_temp.claimed(n) from unnest(array['expired', 'expired2', 'gone', 'unexpected', 'invalid']) n; end $$;
create function pg_temp.follows(p_n text, p_code text, p_status text) returns text language plpgsql as $$
begin
  perform pg_temp.fail(p_n, pg_temp.refusal(p_n, p_code, p_status), false);
  return format('%s %s seats %s', (pg_temp.row(p_n)).status || coalesce('/' || (pg_temp.row(p_n)).outcome, ''), test.state(pg_temp.b(p_n)),
    test.seats_taken((test.booking(pg_temp.b(p_n))).slot_id));
end $$;
select is(pg_temp.follows('expired', 'charge_expired_for_capture', 'canceled'), 'done/refused cancelled/cancelled seats 0',
  'an expired hold cannot be captured: the booking is cancelled, the seat is free');
select results_eq($$ select cancelled_by, cancellation_reason, refund_percent::int from booking.bookings where id = pg_temp.b('expired') $$,
  $$ values ('system', 'payment_cancelled', 100) $$, 'by the system');
select is(pg_temp.follows('expired2', 'capture_charge_authorization_expired', 'canceled'), 'done/refused cancelled/cancelled seats 0', 'by its other name');
select is(pg_temp.follows('gone', 'payment_intent_unexpected_state', 'requires_payment_method'), 'done/refused cancelled/failed seats 0',
  'a PaymentIntent that wants a new card has no hold either');
select is(test.commands(pg_temp.b('gone')), array['capture_payment_intent done/refused', 'cancel_payment_intent pending'], 'and is cancelled, so that nobody pays it');
select is(pg_temp.follows('unexpected', 'payment_intent_unexpected_state', 'canceled'), 'done/refused cancelled/cancelled seats 0', 'a canceled one as well');
select is(pg_temp.follows('invalid', 'intent_invalid_state', 'canceled'), 'done/refused cancelled/cancelled seats 0', 'intent_invalid_state');
select is((select count(*) from booking.alerts where subject in (pg_temp.id('expired')::text, pg_temp.id('gone')::text)), 0::bigint,
  'that is the way of things: no alert');
select is((pg_temp.row('gone')).last_error ? 'payment_intent', false, 'the object is not kept with the error');

-- -- a listed code that the object does not confirm
do $$ begin perform pg_temp.claimed(n) from unnest(array['held', 'none', 'other', 'mute']) n; end $$;
select is(pg_temp.follows('held', 'charge_expired_for_capture', 'requires_capture'), 'dead confirmed/authorized seats 1',
  'the object shows the hold: the booking does not follow');
do $$ begin perform pg_temp.fail('none', '{"http_status": 400, "code": "charge_expired_for_capture"}', false); end $$;
select is(pg_temp.said('none') || ' ' || test.state(pg_temp.b('none')), 'dead attempt 1 key 1 confirmed/authorized', 'no object: the booking does not follow');
do $$ begin perform pg_temp.fail('other', pg_temp.refusal('other', 'charge_expired_for_capture', 'canceled')
  || jsonb_build_object('payment_intent', test.intent(pg_temp.b('other'), 'canceled') || '{"id": "pi_of_somebody"}'), false); end $$;
select is(pg_temp.said('other') || ' ' || test.state(pg_temp.b('other')), 'dead attempt 1 key 1 confirmed/authorized', 'another PaymentIntent proves nothing');
select is((select count(*) from booking.alerts where kind = 'command_dead' and subject in
  (pg_temp.id('held')::text, pg_temp.id('none')::text, pg_temp.id('other')::text)), 3::bigint, 'each is told to a person');
select is(pg_temp.follows('mute', 'rate_limit', 'requires_payment_method'), 'dead confirmed/authorized seats 1',
  'without a listed code a lost hold is not believed');

-- -- the object shows the effect
do $$ begin perform pg_temp.claimed('was done'); perform pg_temp.fail('was done', pg_temp.refusal('was done', 'charge_already_captured', 'succeeded'), false); end $$;
select is((pg_temp.row('was done')).status || '/' || (pg_temp.row('was done')).outcome || ' ' || test.state(pg_temp.b('was done')),
  'done/applied confirmed/captured', 'captured already: done');
do $$ begin perform pg_temp.claimed('was done 2'); perform pg_temp.fail('was done 2',
  jsonb_build_object('http_status', 500, 'idempotent_replayed', true, 'payment_intent', test.intent(pg_temp.b('was done 2'), 'succeeded'))); end $$;
select is((pg_temp.row('was done 2')).status || '/' || (pg_temp.row('was done 2')).outcome || ' ' || test.state(pg_temp.b('was done 2')),
  'done/applied confirmed/captured', 'also behind a replayed 500');
do $$ begin perform pg_temp.claimed('released', 'cancel_payment_intent');
  perform pg_temp.fail('released', pg_temp.refusal('released', 'payment_intent_unexpected_state', 'canceled'), false); end $$;
select is((pg_temp.row('released')).status || '/' || (pg_temp.row('released')).outcome || ' ' || test.state(pg_temp.b('released')),
  'done/applied declined/cancelled', 'canceled already: done');
select is((select count(*) from booking.alerts where subject in (pg_temp.id('was done')::text, pg_temp.id('released')::text)), 0::bigint, 'no alert');

-- -- a cancel that comes too late
do $$ begin perform pg_temp.claimed('paid', 'cancel_payment_intent');
  perform pg_temp.fail('paid', pg_temp.refusal('paid', 'payment_intent_unexpected_state', 'succeeded'), false); end $$;
select is(test.state(pg_temp.b('paid')), 'declined/captured', 'the money was captured meanwhile');
select is(test.commands(pg_temp.b('paid')), array['cancel_payment_intent done/refused', 'create_refund pending'], 'and goes back');
select is((select params ->> 'amount' from booking.stripe_commands where id = test.open_command(pg_temp.b('paid'))), '5000', 'whole');

-- -- an error's object is applied like an event, also when the command is tried again
do $$ begin perform pg_temp.claimed('slow', 'cancel_payment_intent'); end $$;
do $$ begin perform pg_temp.fail('slow', jsonb_build_object('http_status', 500, 'payment_intent', test.intent(pg_temp.b('slow'), 'succeeded')), true); end $$;
select is(pg_temp.said('slow') || ' ' || test.state(pg_temp.b('slow')), 'pending attempt 1 key 1 declined/captured',
  'what it says of the payment is true whatever becomes of the command');
-- -- refunds
do $$ begin perform pg_temp.claimed('r1', 'create_refund'); perform pg_temp.claimed('r2', 'create_refund');
  perform pg_temp.fail('r1', '{"http_status": 400, "code": "charge_already_refunded"}', false);
  perform pg_temp.fail('r2', '{"http_status": 400, "code": "charge_disputed"}', false); end $$;
select is(pg_temp.said('r1') || ', ' || pg_temp.said('r2'), 'dead attempt 1 key 1, dead attempt 1 key 1',
  'a refund that Stripe will not make is a person''s work');
select is(test.open_command(pg_temp.b('r1')), null, 'and not sent again');

-- refused for a dispute that is known, it waits like any other refund of that payment
do $$ begin perform pg_temp.claimed(n, 'create_refund') from unnest(array['r3', 'r4', 'r5']) n; perform test.dispute(pg_temp.b(n)) from unnest(array['r3', 'r4', 'r5']) n;
  perform pg_temp.fail('r3', '{"http_status": 400, "code": "charge_disputed"}', false);
  perform pg_temp.fail('r4', '{"http_status": 400, "code": "charge_already_refunded"}', false);
  perform pg_temp.fail('r5', '{"http_status": 409, "code": "charge_disputed"}', true); end $$;
select is(pg_temp.said(n), want, n || ': refused while the payment is disputed')
from (values ('r3', 'done/refused attempt 1 key 1'), ('r4', 'dead attempt 1 key 1'), ('r5', 'pending attempt 1 key 1')) v (n, want);
select is(pg_temp.alerts(pg_temp.id('r3')::text) || pg_temp.alerts((test.payment(pg_temp.b('r3'))).id::text), '{refund_held_by_dispute}',
  'a person is told that it is held back, not that it failed');
select is(test.open_command(pg_temp.b('r3')), null, 'nothing is sent while the dispute is open');
do $$ begin perform test.dispute(pg_temp.b('r3'), 'won'); end $$;
select is(test.commands(pg_temp.b('r3')), array['capture_payment_intent done/applied', 'create_refund done/refused', 'create_refund pending'],
  'won: it is sent anew, under a key of its own');
do $$ begin perform test.run_commands(pg_temp.b('r3')); end $$;
select is(test.state(pg_temp.b('r3')), 'cancelled/refunded', 'and the student has the money');
-- ... once: a dispute that was won does not hold a refund that Stripe still refuses
do $$ begin perform pg_temp.claimed('r6', 'create_refund'); perform test.dispute(pg_temp.b('r6'), 'won');
  perform pg_temp.fail('r6', '{"http_status": 400, "code": "charge_disputed"}', false); end $$;
select is(pg_temp.said('r6'), 'dead attempt 1 key 1', 'refused for a dispute that nobody knows of: a person looks at it');

-- refused because somebody has given the money back by hand, of which the event came before the refusal
do $$ begin perform pg_temp.claimed('r7', 'create_refund'); perform test.event('refund.created', test.refund(pg_temp.b('r7'), 5000, 're_by_hand'));
  perform pg_temp.fail('r7', '{"http_status": 400, "code": "charge_already_refunded"}', false); end $$;
select is(pg_temp.said('r7') || ' ' || test.state(pg_temp.b('r7')), 'done/superseded attempt 1 key 1 cancelled/refunded', 'the wish has come true in another way');
select is(pg_temp.alerts(pg_temp.id('r7')::text), '{}', 'so there is nothing to look at');

-- -- a lease that was lost
do $$ begin perform pg_temp.claimed('lost'); end $$;
select is(pg_temp.fail('lost', '{"http_status": 400, "code": "charge_expired_for_capture"}', false, null, 'somebody else'), false, 'who does not hold it');
select is(pg_temp.said('lost'), 'running attempt 1 key 1', 'changes nothing of the command');
select is(pg_temp.alerts(pg_temp.id('lost')::text), '{}', 'nor tells anybody');
select is(pg_temp.fail('lost', jsonb_build_object('http_status', 400, 'code', 'payment_intent_unexpected_state', 'payment_intent',
  test.intent(pg_temp.b('lost'), 'succeeded')), false, null, 'somebody else'), false, 'what its error shows of the payment');
select is(test.state(pg_temp.b('lost')), 'confirmed/captured', 'is true all the same');
select is(pg_temp.said('lost'), 'running attempt 1 key 1', 'the command stays with its holder');

-- -- a command for an order: the session itself must show what a refusal means
create function pg_temp.ending(p_n text) returns void language plpgsql as $$
declare v_order uuid := test.open_order();
begin
  insert into t select p_n, v_order, booking.queue_session_expiry(v_order);
  perform booking.claim_stripe_command(pg_temp.id(p_n), 'w');
end $$;
create function pg_temp.session_refusal(p_n text, p_status text, p_paid text default null) returns jsonb language sql as $$
  select jsonb_build_object('type', 'invalid_request_error', 'http_status', 400, 'checkout_session', test.checkout_session(pg_temp.b(p_n), p_status, p_paid)) $$;
select pg_temp.ending(n) from unnest(array['s-open', 's-expired', 's-paid', 's-unpaid', 's-blind', 's-stranger', 's-lost', 's-dead', 's-intent']) n;
select is(pg_temp.fail('s-open', pg_temp.session_refusal('s-open', 'open')), true, 'refused, and the session is open');
select is(pg_temp.said('s-open'), 'pending attempt 1 key 2', 'open: again, under a new key');
do $$ begin perform pg_temp.fail('s-expired', pg_temp.session_refusal('s-expired', 'expired'), false); end $$;
select is(pg_temp.said('s-expired') || ' ' || (test.order_row(pg_temp.b('s-expired'))).status, 'done/applied attempt 1 key 1 expired', 'expired: the wish came true');
do $$ begin perform pg_temp.fail('s-paid', pg_temp.session_refusal('s-paid', 'complete'), false); end $$;
select is(pg_temp.said('s-paid') || ' ' || (test.order_row(pg_temp.b('s-paid'))).status, 'done/refused attempt 1 key 1 paid', 'complete: refused for good, and the order is paid');
do $$ begin perform pg_temp.fail('s-unpaid', pg_temp.session_refusal('s-unpaid', 'complete', 'unpaid'), false); end $$;
select is(pg_temp.said('s-unpaid') || ' ' || (test.order_row(pg_temp.b('s-unpaid'))).status, 'done/refused attempt 1 key 1 pending', 'complete and not paid yet');
do $$ begin perform pg_temp.fail('s-blind', '{"http_status": 400, "code": "payment_intent_unexpected_state"}', false); end $$;
select is(pg_temp.said('s-blind') || pg_temp.alerts(pg_temp.id('s-blind')::text)::text, 'dead attempt 1 key 1{command_dead}', 'a refusal that nothing confirms is a person''s work');
do $$ begin perform pg_temp.fail('s-stranger', pg_temp.session_refusal('s-paid', 'complete'), true); end $$;
select is(pg_temp.said('s-stranger'), 'pending attempt 1 key 2', 'another session confirms nothing');
select is(pg_temp.fail('s-lost', pg_temp.session_refusal('s-lost', 'complete'), false, null, 'somebody else'), false, 'who lost the lease');
select is(pg_temp.said('s-lost') || ' ' || (test.order_row(pg_temp.b('s-lost'))).status, 'running attempt 1 key 1 paid', 'leaves the command, and what was seen is true');
do $$ begin perform pg_temp.fail('s-dead', '{"type": "api_connection_error"}'); end $$;
select is(pg_temp.said('s-dead'), 'pending attempt 1 key 1', 'no answer: the same key again');
do $$ begin perform pg_temp.fail('s-intent', jsonb_build_object('http_status', 400, 'payment_intent', jsonb_build_object('id', test.session_id(pg_temp.b('s-intent')), 'status', 'canceled')), false); end $$;
select is(pg_temp.said('s-intent'), 'dead attempt 1 key 1', 'a PaymentIntent is no session');
select is((pg_temp.row('s-paid')).last_error ? 'checkout_session', false, 'the session is not kept with the error');
-- the cancel of a lapsed hold finds that it was paid: the answer seats the student again, as the webhook would
create temp table lapsed as select test.hold_seat(test.make_class(1), 'ann') as id;
do $$ begin perform test.lapse(id) from lapsed; insert into t select 'lapsed', id, test.open_command(id) from lapsed;
  perform booking.claim_stripe_command(pg_temp.id('lapsed'), 'w');
  perform pg_temp.fail('lapsed', jsonb_build_object('code', 'payment_intent_unexpected_state', 'http_status', 400, 'payment_intent', test.intent(id, 'succeeded')), false) from lapsed; end $$;
select is(pg_temp.said('lapsed'), 'done/refused attempt 1 key 1', 'the cancel was refused');
select is(n.status || ' ' || p.status, 'confirmed captured', 'the student has a seat again')
from lapsed, booking.bookings b, booking.payments p, booking.bookings n where b.id = lapsed.id and p.id = b.payment_id and n.id = p.booking_id and n.id <> b.id;
select is_empty($$ select * from booking.check_invariants() $$, 'and all the books are right');
-- refund requests
create function pg_temp.requested(p_n text) returns void language plpgsql as $$
declare v_b uuid := test.captured_booking();
begin
  insert into t values (p_n, v_b, test.approve(test.ask(v_b, 2000)));
  perform booking.claim_stripe_command(pg_temp.id(p_n), 'w');
end $$;
do $$ begin perform pg_temp.requested(n) from unnest(array['q refused', 'q unknown', 'q lost', 'q transient', 'q auth', 'q replayed']) n; end $$;
do $$ begin
  perform pg_temp.fail('q refused', '{"type": "invalid_request_error", "code": "charge_already_refunded", "http_status": 400}', false);
  perform pg_temp.fail('q unknown', '{"type": "api_connection_error"}', false);
  perform pg_temp.fail('q lost', '{"code": "charge_disputed", "http_status": 400}', false, null, 'somebody else');
  perform pg_temp.fail('q transient', '{"code": "lock_timeout", "http_status": 400}', true);
  perform pg_temp.fail('q auth', '{"code": "api_key_expired", "http_status": 401}', false);
  perform pg_temp.fail('q replayed', '{"http_status": 500, "idempotent_replayed": true}', false);
end $$;
select is(pg_temp.said(n) || ' ' || array_to_string(test.requests(pg_temp.b(n)), ''), want, n) from (values
  ('q refused', 'done/refused attempt 1 key 1 pending 2000'), ('q unknown', 'dead attempt 1 key 1 approved 2000'), ('q lost', 'running attempt 1 key 1 approved 2000'),
  ('q transient', 'pending attempt 1 key 2 approved 2000'), ('q auth', 'pending attempt 1 key 1 approved 2000'), ('q replayed', 'done/refused attempt 1 key 1 pending 2000')) v (n, want);
select is(pg_temp.alerts(pg_temp.id(n)::text), want, n || ': alerts') from (values ('q refused', '{}'::text[]), ('q unknown', '{command_dead}'), ('q replayed', '{}')) v (n, want);
select is(pg_temp.alerts(q.id::text), array['refund_request_returned'], 'a person is told that the request came back') from booking.refund_requests q where q.booking_id = pg_temp.b('q refused');
select is((select count(*) from booking.stripe_commands where payment_id = (test.payment(pg_temp.b('q refused'))).id and status in ('pending', 'running')), 0::bigint, 'nothing is sent by itself');
do $$ begin perform test.approve(q.id) from booking.refund_requests q where q.booking_id = pg_temp.b('q refused'); perform test.run_commands(pg_temp.b('q refused')); end $$;
select is(test.requests(pg_temp.b('q refused')), array['refunded 2000'], 'approved anew it is sent under another key, and paid');
select is_empty('select * from booking.check_invariants()', 'the books are in order with requests');
select * from finish();
