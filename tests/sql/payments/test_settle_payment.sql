-- booking.settle_payment(): what Stripe is asked follows from the booking and the payment as they are, whatever came first.
select * from no_plan();
create temp table t (n text, b uuid);
create function pg_temp.b(p_n text) returns uuid language sql as $$ select b from t where n = p_n $$;
create function pg_temp.start(p_n text, p_way text default 'authorize', p_start interval default '7 days', p_amount bigint default 5000,
  p_currency text default 'usd', p_confirmation text default 'expert') returns uuid language plpgsql as $$
declare v_b uuid := test.book(test.make_slot(p_start, p_amount => p_amount, p_currency => p_currency, p_confirmation => p_confirmation));
begin
  insert into t values (p_n, v_b);
  if p_way = 'prepare' then perform test.prepare(v_b);
  elsif p_way = 'authorize' then perform test.authorize(v_b);
  elsif p_way = 'confirm' then perform test.authorize(v_b); perform test.confirm(v_b);
  elsif p_way = 'capture' then perform test.capture(v_b);
  end if;
  return v_b;
end $$;
create function pg_temp.cancel(p_n text) returns text language sql as $$
  select c.refund_percent || ' ' || c.refund_amount from booking.cancel_booking_transaction(test.student(pg_temp.b(p_n)), pg_temp.b(p_n)) c $$;
create function pg_temp.said(p_n text) returns text language sql as $$
  select test.state(pg_temp.b(p_n)) || ': ' || array_to_string(test.commands(pg_temp.b(p_n)), ', ') $$;
create function pg_temp.state(p_n text) returns text language sql as $$ select test.state(pg_temp.b(p_n)) $$;
create function pg_temp.due(p_n text) returns text language sql as $$
  select params ->> 'amount' from booking.stripe_commands where id = test.open_command(pg_temp.b(p_n)) $$;
create function pg_temp.claim(p_n text) returns void language sql as $$
  select booking.claim_stripe_command(test.open_command(pg_temp.b(p_n)), 'w') $$;

-- -- nothing to settle
select is(booking.settle_payment('01890000-0000-7000-8000-000000000001'), null, 'no such booking');
do $$ begin perform pg_temp.start('unpaid', 'none'); end $$;
select is(booking.settle_payment(pg_temp.b('unpaid')), null, 'no payment');
do $$ begin perform pg_temp.start('live', 'prepare'); end $$;
select is(booking.settle_payment(pg_temp.b('live')), null, 'a pending booking that is not paid wants nothing');
do $$ begin perform pg_temp.start('held'); end $$;
select is(booking.settle_payment(pg_temp.b('held')), null, 'nor one whose hold waits for the expert');
do $$ begin perform pg_temp.start('all is well', 'capture'); end $$;
select is(booking.settle_payment(pg_temp.b('all is well')), null, 'nor a captured one');

-- -- not authorized yet
do $$ begin insert into t values ('no intent', test.book());
  perform booking.prepare_payment_intent(test.student(pg_temp.b('no intent')), pg_temp.b('no intent'));
  perform pg_temp.cancel('no intent'); end $$;
select is(pg_temp.said('no intent'), 'cancelled/cancelled: ', 'without a PaymentIntent the payment is cancelled at once');
create function pg_temp.before_hold(p_type text, p_status text) returns text language plpgsql as $$
begin
  perform pg_temp.start(p_type, 'prepare');
  perform test.event(p_type, test.intent(pg_temp.b(p_type), p_status));
  perform pg_temp.cancel(p_type);
  return pg_temp.said(p_type);
end $$;
select is(pg_temp.before_hold('payment_intent.requires_action', 'requires_action'), 'cancelled/requires_action: cancel_payment_intent pending', 'requires_action');
select is(pg_temp.before_hold('payment_intent.processing', 'processing'), 'cancelled/processing: cancel_payment_intent pending', 'processing');
select is(pg_temp.before_hold('payment_intent.payment_failed', 'requires_payment_method'), 'cancelled/failed: cancel_payment_intent pending', 'failed');
do $$ begin perform pg_temp.start('prepared', 'prepare'); perform pg_temp.cancel('prepared'); end $$;
select is(pg_temp.said('prepared'), 'cancelled/pending: cancel_payment_intent pending', 'a dead booking''s PaymentIntent is cancelled');
select is(booking.settle_payment(pg_temp.b('prepared')), test.open_command(pg_temp.b('prepared')), 'asked again it returns the open command');
select is(pg_temp.said('prepared'), 'cancelled/pending: cancel_payment_intent pending', 'and queues no second one');

-- -- authorized
do $$ begin perform pg_temp.start('confirmed', 'confirm'); end $$;
select is(pg_temp.said('confirmed'), 'confirmed/authorized: capture_payment_intent pending', 'confirmed: capture');
do $$ begin perform pg_temp.start('declined'); perform booking.confirm_booking_transaction(test.expert(pg_temp.b('declined')), pg_temp.b('declined'), 'decline'); end $$;
select is(pg_temp.said('declined'), 'declined/authorized: cancel_payment_intent pending', 'declined: release');
do $$ begin perform pg_temp.start('pending, cancelled', p_start => '1 hour'); end $$;
select is(pg_temp.cancel('pending, cancelled'), '100 0', 'before the capture the hold is cancelled whole, however late');
select is(pg_temp.said('pending, cancelled'), 'cancelled/authorized: cancel_payment_intent pending', 'cancelled: release');
do $$ begin perform pg_temp.start('100 %', 'confirm'); perform pg_temp.cancel('100 %'); end $$;
select is(pg_temp.said('100 %'), 'cancelled/authorized: capture_payment_intent done/superseded, cancel_payment_intent pending',
  'a capture that was never sent makes way for the release');
do $$ begin perform pg_temp.start('50 %', 'confirm', '10 hours'); perform pg_temp.cancel('50 %'); end $$;
select is(pg_temp.said('50 %'), 'cancelled/authorized: capture_payment_intent pending', 'with something to keep the capture goes on');
do $$ begin perform test.run_command(test.open_command(pg_temp.b('50 %'))); end $$;
select is(pg_temp.said('50 %') || ' ' || pg_temp.due('50 %'), 'cancelled/captured: capture_payment_intent done/applied, create_refund pending 2500', 'then the rest is refunded');
do $$ begin perform pg_temp.start('0 %', 'confirm', '1 hour'); perform pg_temp.cancel('0 %'); perform test.run_commands(pg_temp.b('0 %')); end $$;
select is(pg_temp.said('0 %'), 'cancelled/captured: capture_payment_intent done/applied', '0 %: captured and kept');
do $$ begin perform pg_temp.start('at stripe', 'confirm'); perform pg_temp.claim('at stripe'); perform pg_temp.cancel('at stripe'); end $$;
select is(pg_temp.said('at stripe'), 'cancelled/authorized: capture_payment_intent running', 'a capture that was sent must be known first');
do $$ begin perform booking.fail_stripe_command(test.open_command(pg_temp.b('at stripe')), 'w', '{}', true); end $$;
select is(pg_temp.said('at stripe'), 'cancelled/authorized: capture_payment_intent pending', 'also while it waits for its next attempt');
do $$ begin perform test.event('payment_intent.succeeded', test.intent(pg_temp.b('at stripe'), 'succeeded')); end $$;
select is(pg_temp.said('at stripe'), 'cancelled/captured: capture_payment_intent pending', 'its effect is seen: its answer is waited for');
update booking.stripe_commands set run_at = booking.clock() where id = test.open_command(pg_temp.b('at stripe'));
do $$ begin perform test.run_commands(pg_temp.b('at stripe')); end $$;
select is(pg_temp.said('at stripe'), 'cancelled/refunded: capture_payment_intent done/applied, create_refund done/applied', 'then all goes back, once');
do $$ begin perform pg_temp.start('dead capture', 'confirm'); perform pg_temp.claim('dead capture');
  perform booking.fail_stripe_command(test.open_command(pg_temp.b('dead capture')), 'w', '{"http_status": 400}', false);
  perform test.event('charge.succeeded', test.charge(pg_temp.b('dead capture'))); end $$;
select is(pg_temp.said('dead capture'), 'confirmed/authorized: capture_payment_intent dead', 'what is dead is not asked for again');
do $$ begin perform pg_temp.cancel('dead capture'); end $$;
select is(pg_temp.said('dead capture'), 'cancelled/authorized: capture_payment_intent dead, cancel_payment_intent pending', 'another wish is');
do $$ begin perform pg_temp.start('unasked', 'confirm'); perform test.event('charge.captured', test.charge(pg_temp.b('unasked'), true)); end $$;
select is(pg_temp.said('unasked'), 'confirmed/captured: capture_payment_intent done/superseded', 'captured by hand meanwhile: the unsent wish is over');

-- -- captured
do $$ begin perform pg_temp.start('by expert', 'capture', '1 hour'); perform booking.cancel_booking_transaction(test.expert(pg_temp.b('by expert')), pg_temp.b('by expert')); end $$;
select is(pg_temp.due('by expert'), '5000', 'the expert always gives all of it');
do $$ begin perform pg_temp.start('kept', 'capture', '1 hour'); end $$;
select is(pg_temp.cancel('kept') || ' ' || pg_temp.said('kept'), '0 0 cancelled/captured: capture_payment_intent done/applied', '0 %: nothing goes back');
do $$ begin perform pg_temp.start('half', 'capture', '10 hours'); end $$;
select is(pg_temp.cancel('half') || ' ' || pg_temp.due('half'), '50 2500 2500', '50 %');
do $$ begin perform test.run_commands(pg_temp.b('half')); perform test.event('charge.refunded', test.charge(pg_temp.b('half'), true, 2500));
  perform booking.settle_payment(pg_temp.b('half')); end $$;
select is(pg_temp.said('half'), 'cancelled/partially_refunded: capture_payment_intent done/applied, create_refund done/applied', 'once');

create function pg_temp.halves(p_amount bigint, p_currency text) returns text language plpgsql as $$
begin
  delete from t where n = 'money';
  perform pg_temp.start('money', 'capture', '10 hours', p_amount, p_currency);
  perform pg_temp.cancel('money');
  return pg_temp.due('money');
end $$;
select is(pg_temp.halves(4999, 'usd'), '2500', 'half of 49.99 USD, half up');
select is(pg_temp.halves(1, 'usd'), '1', 'half of a cent is a cent');
select is(pg_temp.halves(1001, 'jpy'), '501', 'JPY has no smaller unit: half of 1001 is 501');
select is(pg_temp.halves(1010, 'kwd'), '510', 'KWD: three decimals, refunds in multiples of 10');
select is(pg_temp.halves(1020, 'kwd'), '510', 'KWD: exact');
select is(pg_temp.halves(500, 'isk'), '300', 'ISK: multiples of 100');
select is(pg_temp.halves(100, 'ugx'), '100', 'UGX: half of the smallest amount is all of it');

-- what was given back already counts
do $$ begin perform pg_temp.start('dashboard', 'capture', '10 hours');
  perform test.event('charge.refunded', test.charge(pg_temp.b('dashboard'), true, 1000)); end $$;
select is(pg_temp.cancel('dashboard') || ' ' || pg_temp.due('dashboard'), '50 1500 1500', 'a refund from the dashboard counts');
do $$ begin perform test.event('refund.created', test.refund(pg_temp.b('dashboard'), 1000, 're_dash') - 'metadata'); end $$;
select is(pg_temp.due('dashboard'), '1500', 'its row, without any metadata, explains it: no more, no less');
do $$ begin perform test.event('refund.created', test.refund(pg_temp.b('dashboard'), 700, 're_dash2') - 'metadata'); end $$;
select is(pg_temp.due('dashboard'), '800', 'another one while ours was not sent: ours becomes smaller');
do $$ begin perform test.event('refund.failed', test.refund(pg_temp.b('dashboard'), 700, 're_dash2', 'failed') - 'metadata'); end $$;
select is(pg_temp.due('dashboard'), '800', 'it fails: a person pays it, ours does not grow');
do $$ begin perform pg_temp.claim('dashboard'); perform test.event('refund.created', test.refund(pg_temp.b('dashboard'), 100, 're_dash3') - 'metadata'); end $$;
select is(pg_temp.due('dashboard'), '800', 'once sent it stays as it was sent');
do $$ begin perform pg_temp.start('all by hand', 'capture'); perform test.event('charge.refunded', test.charge(pg_temp.b('all by hand'), true, 5000)); end $$;
select is(pg_temp.cancel('all by hand') || ' ' || pg_temp.said('all by hand'), '100 0 cancelled/refunded: capture_payment_intent done/applied',
  'refunded whole by hand: cancelling gives nothing more');

-- never twice: answers without metadata, duplicates, events before answers, failures
do $$ begin perform pg_temp.start('once', 'capture'); perform pg_temp.cancel('once'); perform pg_temp.claim('once');
  perform booking.complete_stripe_command(test.open_command(pg_temp.b('once')), 'w', test.refund(pg_temp.b('once'), 5000, 're_once', 'pending') - 'metadata');
  perform test.event('refund.created', test.refund(pg_temp.b('once'), 5000, 're_once', 'pending') - 'metadata');
  perform test.event('charge.refunded', test.charge(pg_temp.b('once'), true, 5000));
  perform test.event('refund.updated', test.refund(pg_temp.b('once'), 5000, 're_once', 'succeeded') - 'metadata');
  perform test.event('charge.refunded', test.charge(pg_temp.b('once'), true, 5000)); end $$;
select is(pg_temp.said('once'), 'cancelled/refunded: capture_payment_intent done/applied, create_refund done/applied', 'an answer without metadata, and duplicates');
do $$ begin perform test.event('refund.failed', test.refund(pg_temp.b('once'), 5000, 're_once', 'failed')); end $$;
select is(pg_temp.said('once'), 'cancelled/captured: capture_payment_intent done/applied, create_refund done/applied', 'it fails later: not sent again by itself');
do $$ begin perform pg_temp.start('early', 'capture'); perform pg_temp.cancel('early'); perform pg_temp.claim('early');
  perform test.event('charge.refunded', test.charge(pg_temp.b('early'), true, 5000)); end $$;
select is(pg_temp.said('early'), 'cancelled/refunded: capture_payment_intent done/applied, create_refund running', 'the charge knows of it before the answer');
do $$ begin perform test.event('refund.created', test.refund(pg_temp.b('early'), 5000, 're_early', p_command => test.open_command(pg_temp.b('early'))));
  perform booking.complete_stripe_command(test.open_command(pg_temp.b('early')), 'w', test.refund(pg_temp.b('early'), 5000, 're_early', p_command => test.open_command(pg_temp.b('early')))); end $$;
select is(pg_temp.said('early'), 'cancelled/refunded: capture_payment_intent done/applied, create_refund done/applied', 'event, then answer: one refund');
do $$ begin perform pg_temp.start('more', 'authorize'); perform test.event('payment_intent.succeeded', test.intent(pg_temp.b('more'), 'succeeded', 3000));
  perform booking.confirm_booking_transaction(test.expert(pg_temp.b('more')), pg_temp.b('more'), 'decline'); perform test.run_commands(pg_temp.b('more'));
  perform test.event('payment_intent.succeeded', test.intent(pg_temp.b('more'), 'succeeded', 5000)); end $$;
select is(pg_temp.said('more') || ' ' || pg_temp.due('more'), 'declined/partially_refunded: create_refund done/applied, create_refund pending 2000',
  'more is captured after the refund: the rest follows');

-- -- disputes
create function pg_temp.dispute(p_n text, p_type text, p_status text, p_id text default 'dp', p_at timestamptz default null) returns text language sql as $$
  select test.event('charge.dispute.' || p_type, jsonb_build_object('id', p_id || '_' || p_n, 'object', 'dispute', 'amount', 5000, 'currency', 'usd',
    'status', p_status, 'reason', 'fraudulent', 'payment_intent', test.intent_id(pg_temp.b(p_n))), p_created => p_at) $$;
create function pg_temp.gated(p_status text) returns text language plpgsql as $$
begin
  perform pg_temp.start(p_status, 'capture');
  perform pg_temp.dispute(p_status, 'created', p_status);
  perform pg_temp.cancel(p_status);
  return pg_temp.said(p_status);
end $$;
select is(pg_temp.gated(s), 'cancelled/captured: capture_payment_intent done/applied', s || ' holds the refund back')
  from unnest(array['needs_response', 'under_review', 'warning_needs_response', 'warning_under_review', 'lost']) s;
select is(pg_temp.gated(s), 'cancelled/captured: capture_payment_intent done/applied, create_refund pending', s || ' does not')
  from unnest(array['won', 'warning_closed', 'prevented']) s;
select results_eq($$ select a.detail from booking.alerts a where a.kind = 'refund_held_by_dispute' and a.subject = (test.payment(pg_temp.b('needs_response'))).id::text $$,
  $$ values ('{"amount": 5000}'::jsonb) $$, 'a person is told how much is held back');
do $$ begin perform pg_temp.dispute('needs_response', 'closed', 'won'); end $$;
select is(pg_temp.said('needs_response') || ' ' || pg_temp.due('needs_response'), 'cancelled/captured: capture_payment_intent done/applied, create_refund pending 5000',
  'won: the refund is released');
do $$ begin perform pg_temp.dispute('under_review', 'closed', 'lost'); end $$;
select is(pg_temp.said('under_review'), 'cancelled/captured: capture_payment_intent done/applied', 'lost: Stripe has given the money back already');
do $$ begin perform pg_temp.start('two', 'capture'); perform pg_temp.dispute('two', 'created', 'needs_response', 'a'); perform pg_temp.dispute('two', 'created', 'needs_response', 'b');
  perform pg_temp.cancel('two'); perform pg_temp.dispute('two', 'closed', 'won', 'a'); end $$;
select is(pg_temp.due('two'), null, 'two disputes: both must be won');
do $$ begin perform pg_temp.dispute('two', 'closed', 'won', 'b'); end $$;
select is(pg_temp.due('two'), '5000', 'then it is released');
do $$ begin perform pg_temp.start('unsent', 'capture'); perform pg_temp.cancel('unsent'); perform pg_temp.dispute('unsent', 'created', 'needs_response'); end $$;
select is(pg_temp.said('unsent'), 'cancelled/captured: capture_payment_intent done/applied, create_refund done/superseded', 'a refund that was not sent yet is held back too');
do $$ begin perform pg_temp.dispute('unsent', 'closed', 'won'); end $$;
select is(pg_temp.due('unsent'), '5000', 'and released');
do $$ begin perform pg_temp.start('sent', 'capture'); perform pg_temp.cancel('sent'); perform pg_temp.claim('sent'); perform pg_temp.dispute('sent', 'created', 'needs_response'); end $$;
select is(pg_temp.said('sent'), 'cancelled/captured: capture_payment_intent done/applied, create_refund running', 'one that was sent is Stripe''s to judge');
do $$ begin perform booking.complete_stripe_command(test.open_command(pg_temp.b('sent')), 'w', test.answer(test.open_command(pg_temp.b('sent'))));
  perform pg_temp.dispute('sent', 'closed', 'won'); end $$;
select is(pg_temp.said('sent'), 'cancelled/refunded: capture_payment_intent done/applied, create_refund done/applied', 'and never sent twice');
do $$ begin perform pg_temp.start('euro', 'capture'); perform test.event('charge.dispute.created', jsonb_build_object('id', 'dp_euro', 'object', 'dispute',
  'amount', 4300, 'currency', 'eur', 'status', 'needs_response', 'payment_intent', test.intent_id(pg_temp.b('euro')))); perform pg_temp.cancel('euro'); end $$;
select is(pg_temp.due('euro'), null, 'a dispute in the currency of the card holds back all the same');

-- -- cancelled: our own word, then Stripe's
do $$ begin perform booking.record_payment_intent((test.booking(pg_temp.b('no intent'))).payment_id, test.intent_id(pg_temp.b('no intent'))); end $$;
select is(pg_temp.said('no intent'), 'cancelled/cancelled: cancel_payment_intent pending', 'a PaymentIntent that comes to be known later is cancelled');
do $$ begin perform test.run_commands(pg_temp.b('no intent')); perform booking.settle_payment(pg_temp.b('no intent')); end $$;
select is(pg_temp.said('no intent'), 'cancelled/cancelled: cancel_payment_intent done/applied', 'once');
do $$ begin insert into t values ('after all', test.book()), ('after all 2', test.book());
  perform booking.prepare_payment_intent(test.student(b), b) from t where n like 'after all%';
  perform pg_temp.cancel('after all'); perform pg_temp.cancel('after all 2');
  perform booking.record_payment_intent((test.booking(b)).payment_id, test.intent_id(b)) from t where n = 'after all';
  perform pg_temp.claim('after all');
  perform booking.fail_stripe_command(test.open_command(pg_temp.b('after all')), 'w', jsonb_build_object('code', 'payment_intent_unexpected_state',
    'http_status', 400, 'payment_intent', test.intent(pg_temp.b('after all'), 'succeeded')), false);
  perform test.event('payment_intent.succeeded', test.intent(pg_temp.b('after all 2'), 'succeeded'));
end $$;
select is(pg_temp.said('after all') || ' ' || pg_temp.due('after all'), 'cancelled/cancelled: cancel_payment_intent done/refused, create_refund pending 5000',
  'it was paid after all: the money goes back');
do $$ begin perform test.event(e, test.intent(b, 'processing')) from t, unnest(array['payment_intent.processing', 'payment_intent.requires_action']) e where n like 'after all%';
  perform booking.settle_payment(b) from t where n like 'after all%'; end $$;
select is(pg_temp.said('after all') || ' ' || pg_temp.due('after all'), 'cancelled/cancelled: cancel_payment_intent done/refused, create_refund pending 5000',
  'and no later event takes that back');
select is(pg_temp.said('after all 2') || ' ' || pg_temp.due('after all 2'), 'cancelled/cancelled: create_refund pending 5000', 'the same without a cancel in between');
do $$ begin perform test.run_commands(b) from t where n like 'after all%'; perform test.event('charge.refunded', test.charge(b, true, 5000)) from t where n like 'after all%';
  perform booking.settle_payment(b) from t where n like 'after all%'; end $$;
select is(pg_temp.said('after all') || ', ' || pg_temp.said('after all 2'), 'cancelled/cancelled: cancel_payment_intent done/refused, create_refund done/applied, '
  || 'cancelled/cancelled: create_refund done/applied', 'once');
-- a lapsed hold whose payment has moved on to a new booking has nothing to settle
create temp table moved as select test.hold_seat(test.make_class()) as b;
do $$ begin perform test.lapse(b), test.event('payment_intent.succeeded', test.intent(b, 'succeeded')) from moved; end $$;
select is(booking.settle_payment(b), null, 'the old booking: nothing') from moved;
select is(test.commands(b), array['cancel_payment_intent done/superseded'], 'no refund is queued for it') from moved;
select is_empty($$ select * from booking.check_invariants() $$, 'and all the books are right');
-- -- refund requests
create function pg_temp.req(p_n text, p_amount bigint) returns uuid language plpgsql as $$
declare v_q uuid := test.ask(pg_temp.b(p_n), p_amount);
begin perform test.approve(v_q); return v_q; end $$;
create function pg_temp.cmds(p_n text) returns text language sql as $$
  select string_agg((c.params ->> 'amount') || case when c.refund_request_id is not null then ' asked ' else ' policy ' end || c.status || coalesce('/' || c.outcome, ''), ', ' order by c.created_at, c.id)
  from booking.stripe_commands c where c.payment_id = (test.payment(pg_temp.b(p_n))).id and c.operation = 'create_refund' $$;
create function pg_temp.reqs(p_n text) returns text language sql as $$ select array_to_string(test.requests(pg_temp.b(p_n)), ', ') $$;

do $$ begin perform pg_temp.start('r1', 'capture'); perform pg_temp.req('r1', 2000); end $$;
select is(pg_temp.cmds('r1'), '2000 asked pending', 'a live booking: an approved request is sent');
do $$ begin perform booking.settle_payment(pg_temp.b('r1')) from generate_series(1, 3); perform test.event('charge.captured', test.charge(pg_temp.b('r1'), true)); end $$;
select is(pg_temp.cmds('r1'), '2000 asked pending', 'once, whatever happens meanwhile');
do $$ begin perform pg_temp.cancel('r1'); end $$;
select is(pg_temp.cmds('r1'), '2000 asked pending', 'the policy does not take its place');
do $$ begin perform test.run_command(test.open_command(pg_temp.b('r1'))); end $$;
select is(pg_temp.cmds('r1'), '2000 asked done/applied, 3000 policy pending', 'the policy gives the rest after it');
do $$ begin perform test.run_commands(pg_temp.b('r1')); end $$;
select is(pg_temp.said('r1'), 'cancelled/refunded: capture_payment_intent done/applied, create_refund done/applied, create_refund done/applied', '2000 + 3000');

do $$ begin perform pg_temp.start('r2', 'capture', '10 hours'); perform pg_temp.cancel('r2'); perform pg_temp.req('r2', 1000); end $$;
select is(pg_temp.cmds('r2'), '2500 policy pending', 'an ended booking: the policy''s refund that is open goes first');
do $$ begin perform test.run_commands(pg_temp.b('r2')); end $$;
select is(pg_temp.cmds('r2') || ': ' || pg_temp.reqs('r2'), '2500 policy done/applied, 1000 asked done/applied: refunded 1000', 'then the request on top of it');

do $$ begin perform pg_temp.start('r3', 'capture'); perform pg_temp.req('r3', 2000); perform pg_temp.dispute('r3', 'created', 'needs_response'); end $$;
select is(pg_temp.cmds('r3') || ': ' || pg_temp.reqs('r3'), '2000 asked done/superseded: approved 2000', 'a dispute between approval and sending holds it back');
select results_eq($$ select detail from booking.alerts where kind = 'refund_held_by_dispute' and subject = (test.payment(pg_temp.b('r3'))).id::text $$,
  $$ select jsonb_build_object('amount', 2000, 'request_ids', jsonb_build_array(q.id)) from booking.refund_requests q where q.booking_id = pg_temp.b('r3') $$, 'a person is told which');
do $$ begin perform pg_temp.dispute('r3', 'closed', 'won'); end $$;
select is(pg_temp.cmds('r3') || ': ' || pg_temp.reqs('r3'), '2000 asked done/superseded, 2000 asked pending: approved 2000', 'won: it is sent');
do $$ begin perform test.run_commands(pg_temp.b('r3')); end $$;
select is(pg_temp.state('r3') || ': ' || pg_temp.reqs('r3'), 'confirmed/partially_refunded: refunded 2000', 'once');
do $$ begin perform pg_temp.start('r4', 'capture'); perform pg_temp.req('r4', 2000); perform pg_temp.dispute('r4', 'created', 'needs_response'); perform pg_temp.dispute('r4', 'closed', 'lost'); end $$;
select is(pg_temp.cmds('r4') || ': ' || pg_temp.reqs('r4'), '2000 asked done/superseded: pending 2000', 'lost: the bank has taken the money, the request is decided anew');
select is((select detail ->> 'cause' from booking.alerts a join booking.refund_requests q on q.id::text = a.subject where a.kind = 'refund_request_returned' and q.booking_id = pg_temp.b('r4')),
  'dispute_lost', 'and a person is told why');
do $$ begin perform pg_temp.start('r5', 'capture'); perform pg_temp.req('r5', 2000); perform pg_temp.claim('r5'); perform pg_temp.dispute('r5', 'created', 'needs_response'); end $$;
select is(pg_temp.cmds('r5') || ': ' || pg_temp.reqs('r5'), '2000 asked running: approved 2000', 'one that was sent is Stripe''s to judge');
select is_empty($$ select from booking.alerts where kind = 'refund_held_by_dispute' and subject = (test.payment(pg_temp.b('r5'))).id::text $$, 'it is not held back, so nobody is told that it is');

-- the money goes back in another way before it is sent
do $$ begin perform pg_temp.start('r6', 'capture'); perform pg_temp.req('r6', 2000); perform test.event('refund.created', test.refund(pg_temp.b('r6'), 3001)); end $$;
select is(pg_temp.cmds('r6') || ': ' || pg_temp.reqs('r6'), '2000 asked done/superseded: pending 2000', 'more than is left: it is not sent, it is decided anew');
select is((select detail ->> 'cause' from booking.alerts a join booking.refund_requests q on q.id::text = a.subject where a.kind = 'refund_request_returned' and q.booking_id = pg_temp.b('r6')),
  'exceeds_captured', 'and a person is told why');
do $$ begin perform pg_temp.start('r7', 'capture'); perform pg_temp.req('r7', 1000); perform pg_temp.req('r7', 1500); perform pg_temp.req('r7', 2500);
  perform test.event('refund.created', test.refund(pg_temp.b('r7'), 2000)); end $$;
select is(pg_temp.cmds('r7') || ': ' || pg_temp.reqs('r7'), '1000 asked pending: approved 1000, approved 1500, pending 2500', 'the latest gives way, no more than must');
do $$ begin perform test.run_commands(pg_temp.b('r7')); end $$;
select is(pg_temp.cmds('r7') || ': ' || pg_temp.reqs('r7'), '1000 asked done/applied, 1500 asked done/applied: refunded 1000, refunded 1500, pending 2500', 'the others are paid');
do $$ begin perform pg_temp.start('r8', 'capture', '10 hours'); perform pg_temp.cancel('r8'); perform pg_temp.req('r8', 2500); perform test.event('refund.created', test.refund(pg_temp.b('r8'), 2000)); end $$;
select is(pg_temp.cmds('r8') || ': ' || pg_temp.reqs('r8'), '2500 policy done/superseded, 500 policy pending: approved 2500', 'a refund in the dashboard counts towards the policy, not the request');
do $$ begin perform test.run_commands(pg_temp.b('r8')); end $$;
select is(pg_temp.state('r8') || ' ' || (test.payment(pg_temp.b('r8'))).amount_refunded, 'cancelled/refunded 5000', '2000 by hand, 500, 2500');

-- a decision that comes while a request's refund is in flight
do $$ begin perform pg_temp.start('r9', 'capture', '10 hours'); perform pg_temp.req('r9', 4000); perform pg_temp.claim('r9'); perform pg_temp.cancel('r9'); end $$;
select is(pg_temp.cmds('r9'), '4000 asked running', 'more than the policy gives is on its way: the policy adds nothing');
do $$ begin perform booking.complete_stripe_command(test.open_command(pg_temp.b('r9')), 'w', test.answer(test.open_command(pg_temp.b('r9')))); end $$;
select is(pg_temp.cmds('r9') || ': ' || pg_temp.reqs('r9'), '4000 asked done/applied: refunded 4000', 'nor afterwards');
-- refused for good: the policy owes what the request did not give
do $$ begin perform pg_temp.start('r10', 'capture', '10 hours'); perform pg_temp.req('r10', 2000); perform pg_temp.claim('r10'); perform pg_temp.cancel('r10');
  perform booking.fail_stripe_command(test.open_command(pg_temp.b('r10')), 'w', '{"code": "charge_disputed", "http_status": 400}', false); end $$;
select is(pg_temp.cmds('r10') || ': ' || pg_temp.reqs('r10'), '2000 asked done/refused, 2500 policy pending: pending 2000', 'a request that Stripe refused has given nothing: the policy gives all of its own');
-- the request gives way to what the policy owes, at once
do $$ begin perform pg_temp.start('r12', 'capture'); perform pg_temp.req('r12', 2000); perform pg_temp.cancel('r12'); perform test.event('refund.created', test.refund(pg_temp.b('r12'), 3500)); end $$;
select is(pg_temp.cmds('r12') || ': ' || pg_temp.reqs('r12'), '2000 asked done/superseded, 1500 policy pending: pending 2000', 'too much for the request, and the policy''s rest is sent in its place');
do $$ begin perform pg_temp.start('r13', 'capture', '10 hours'); perform pg_temp.cancel('r13'); perform pg_temp.req('r13', 2500); perform test.event('refund.created', test.refund(pg_temp.b('r13'), 2500)); end $$;
select is(pg_temp.cmds('r13') || ': ' || pg_temp.reqs('r13'), '2500 policy done/superseded, 2500 asked pending: approved 2500',
  'the policy is paid by hand: a command of its own takes the place of the policy''s, though it asks for as much');
-- captured more later
do $$ begin perform pg_temp.start('r11', 'authorize'); perform test.event('payment_intent.succeeded', test.intent(pg_temp.b('r11'), 'succeeded', 3000)); perform pg_temp.req('r11', 3000);
  perform test.run_commands(pg_temp.b('r11')); perform test.event('payment_intent.succeeded', test.intent(pg_temp.b('r11'), 'succeeded', 5000)); end $$;
select is(pg_temp.state('r11') || ': ' || pg_temp.cmds('r11'), 'pending/partially_refunded: 3000 asked done/applied', 'of a booking that waits for its expert, too');
do $$ begin perform booking.confirm_booking_transaction(test.expert(pg_temp.b('r11')), pg_temp.b('r11'), 'decline'); end $$;
select is(pg_temp.cmds('r11'), '3000 asked done/applied, 2000 policy pending', 'declined: the rest goes back');
select is_empty($$ select * from booking.check_invariants() $$, 'requests and policies: all the books are right');
select * from finish();
