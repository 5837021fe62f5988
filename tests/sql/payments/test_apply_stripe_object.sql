-- booking.apply_stripe_object(): an object of Stripe is applied to the payment it belongs to, whatever the order of arrival.
select * from no_plan();
create temp table t (n text, b uuid, slot uuid);
create function pg_temp.b(p_n text default 'x') returns uuid language sql as $$ select b from t where n = p_n $$;
create function pg_temp.taken(p_n text default 'x') returns int language sql as $$ select test.seats_taken(slot) from t where n = p_n $$;
create function pg_temp.start(p_way text default 'prepare', p_confirmation text default 'expert', p_n text default 'x') returns void language plpgsql as $$
declare v_slot uuid := test.make_slot(p_confirmation => p_confirmation); v_b uuid := test.book(v_slot);
begin
  delete from t where n = p_n;
  insert into t values (p_n, v_b, v_slot);
  if p_way = 'intent unknown' then perform booking.prepare_payment_intent(test.student(v_b), v_b);
  elsif p_way = 'prepare' then perform test.prepare(v_b);
  elsif p_way = 'authorize' then perform test.authorize(v_b);
  elsif p_way = 'confirm' then perform test.authorize(v_b); perform test.confirm(v_b);
  elsif p_way = 'capture' then perform test.capture(v_b);
  end if;
end $$;
-- applies it; 'pending/authorized', or 'not ours'
create function pg_temp.apply(p_type text, p_object jsonb) returns text language plpgsql as $$
begin
  if not booking.apply_stripe_object(p_object, p_type, booking.clock(), 'evt_x') then return 'not ours'; end if;
  return test.state(pg_temp.b());
end $$;
-- on a fresh booking
create function pg_temp.fresh(p_type text, p_status text, p_received bigint default null, p_more jsonb default '{}') returns text language plpgsql as $$
begin
  perform pg_temp.start();
  return pg_temp.apply(p_type, test.intent(pg_temp.b(), p_status, p_received) || p_more);
end $$;

-- -- what a PaymentIntent says: the event's type, or, in an answer, its own status
select is(pg_temp.fresh('payment_intent.amount_capturable_updated', 'requires_capture'), 'pending/authorized', 'amount_capturable_updated');
select is(pg_temp.fresh('payment_intent.succeeded', 'succeeded'), 'pending/captured', 'succeeded');
select is((test.payment(pg_temp.b())).amount_captured, 5000::bigint, 'with amount_received');
select is(pg_temp.fresh('payment_intent.succeeded', 'succeeded', 1200), 'pending/captured', 'a part of it');
select is((test.payment(pg_temp.b())).amount_captured, 1200::bigint, 'with amount_received, not the price');
select is(pg_temp.fresh('payment_intent.succeeded', 'succeeded', 0), 'pending/authorized', 'succeeded with no amount received yet: authorized');
select is(pg_temp.fresh('payment_intent.succeeded', 'succeeded', 0, '{"amount_received": null}'), 'pending/authorized', 'or none named');
select is(pg_temp.fresh('payment_intent.processing', 'processing'), 'pending/processing', 'processing');
select is(pg_temp.fresh('payment_intent.requires_action', 'requires_action'), 'pending/requires_action', 'requires_action');
select is(pg_temp.fresh('payment_intent.payment_failed', 'requires_payment_method'), 'pending/failed', 'payment_failed');
select is(pg_temp.fresh('payment_intent.canceled', 'canceled'), 'cancelled/cancelled', 'canceled');
select is(pg_temp.fresh(null, 'requires_capture'), 'pending/authorized', 'an answer: requires_capture');
select is(pg_temp.fresh(null, 'succeeded'), 'pending/captured', 'an answer: succeeded');
select is(pg_temp.fresh(null, 'succeeded', 0), 'pending/authorized', 'an answer: succeeded, nothing received');
select is(pg_temp.fresh(null, 'processing'), 'pending/processing', 'an answer: processing');
select is(pg_temp.fresh(null, 'requires_action'), 'pending/requires_action', 'an answer: requires_action');
select is(pg_temp.fresh(null, 'requires_payment_method'), 'pending/pending', 'an answer: requires_payment_method, as it begins');
select is(pg_temp.fresh(null, 'requires_payment_method', null, '{"last_payment_error": {"code": "card_declined"}}'), 'pending/failed', 'an answer: with an error');
select is(pg_temp.fresh(null, 'requires_confirmation'), 'pending/pending', 'an answer: nothing to learn');
select is(pg_temp.fresh(null, 'canceled'), 'cancelled/cancelled', 'an answer: canceled');
-- -- what a charge says
create function pg_temp.charge(p_type text, p_captured boolean, p_refunded bigint default 0, p_more jsonb default '{}') returns text language plpgsql as $$
begin
  perform pg_temp.start();
  return pg_temp.apply(p_type, test.charge(pg_temp.b(), p_captured, p_refunded) || p_more);
end $$;
select is(pg_temp.charge('charge.succeeded', false), 'pending/authorized', 'charge.succeeded, not captured: authorized');
select is(pg_temp.charge('charge.succeeded', true), 'pending/captured', 'charge.succeeded, captured');
select is((test.payment(pg_temp.b())).amount_captured, 5000::bigint, 'with its amount');
select is(pg_temp.charge('charge.succeeded', false, 5000), 'pending/pending', 'a hold that is released already is none');
select is(pg_temp.charge('charge.captured', true), 'pending/captured', 'charge.captured');
select is(pg_temp.charge('charge.captured', true, 0, '{"amount_captured": null}'), 'pending/captured', 'of an old API version: the amount');
select is(pg_temp.charge('charge.refunded', true, 5000), 'pending/refunded', 'charge.refunded');
select is(pg_temp.charge('charge.refunded', true, 100), 'pending/partially_refunded', 'in part');
select is(pg_temp.charge('charge.refunded', false, 5000), 'pending/pending', 'charge.refunded, not captured: a released hold, no refund');
select is((test.payment(pg_temp.b())).amount_refunded, 0::bigint, 'no money came back');
select is(pg_temp.charge('charge.expired', false), 'cancelled/cancelled', 'charge.expired: the hold is gone');
select is(pg_temp.charge('charge.captured', true, 3800, '{"amount_captured": 1200}'), 'pending/captured', 'a partial capture: what it released is no refund');
select is((test.payment(pg_temp.b())).amount_captured || ' ' || (test.payment(pg_temp.b())).amount_refunded, '1200 0', 'and counts nowhere');

-- -- whose it is
do $$ begin perform pg_temp.start(); end $$;
select is(pg_temp.apply('payment_intent.processing', test.intent(pg_temp.b(), 'processing') - 'metadata'), 'pending/processing', 'found by the PaymentIntent''s id');
select is(pg_temp.apply('charge.succeeded', test.charge(pg_temp.b()) - 'metadata'), 'pending/authorized', 'that of a charge');
select is(pg_temp.apply('charge.succeeded', test.charge(pg_temp.b(), true) - 'metadata' || jsonb_build_object('payment_intent', test.intent(pg_temp.b()))), 'pending/captured', 'expanded too');
select is(pg_temp.apply('refund.created', test.refund(pg_temp.b(), 1000, 're_who') - 'metadata'), 'pending/partially_refunded', 'that of a refund');
select is(pg_temp.apply('charge.dispute.created', jsonb_build_object('id', 'dp_who', 'payment_intent', test.intent_id(pg_temp.b()))), 'pending/partially_refunded', 'that of a dispute');
select is((select count(*) from booking.disputes where payment_id = (test.payment(pg_temp.b())).id), 1::bigint, 'which is kept');
do $$ begin perform pg_temp.start('intent unknown'); end $$;
select is(pg_temp.apply('payment_intent.amount_capturable_updated', test.intent(pg_temp.b())), 'pending/authorized', 'before it is recorded: by metadata.payment_id');
select is((test.payment(pg_temp.b())).stripe_payment_intent_id, test.intent_id(pg_temp.b()), 'and recorded by that');
do $$ begin perform pg_temp.start('intent unknown'); end $$;
select is(pg_temp.apply('charge.succeeded', test.charge(pg_temp.b()) || jsonb_build_object('metadata', jsonb_build_object('payment_id', upper((test.booking(pg_temp.b())).payment_id::text)))),
  'pending/authorized', 'in upper case, and of a charge');
do $$ begin perform pg_temp.start('intent unknown'); end $$;
select is(booking.apply_stripe_object(test.intent(pg_temp.b(), 'processing') - 'metadata', null, booking.clock(), 'c', (test.payment(pg_temp.b())).id, null), true, 'else as the caller says');
select is(test.state(pg_temp.b()), 'pending/processing', 'of the command that was answered');
do $$ begin perform pg_temp.start('authorize'); end $$;
select is(booking.apply_stripe_object(test.charge(pg_temp.b(), true) - 'metadata' - 'payment_intent', 'charge.captured', booking.clock(), 'c', (test.payment(pg_temp.b())).id, test.intent_id(pg_temp.b())),
  true, 'an object without a PaymentIntent has that of the command');
select is(test.state(pg_temp.b()), 'pending/captured', 'and is applied');
select is(pg_temp.apply('payment_intent.succeeded', '{"id": "pi_nobody", "object": "payment_intent"}'), 'not ours', 'nobody''s');
select is(pg_temp.apply('payment_intent.succeeded', jsonb_build_object('id', 'pi_nobody', 'metadata', jsonb_build_object('payment_id', m))), 'not ours', 'metadata of others: ' || m)
  from unnest(array['order 17', '', '01890000-0000-7000-8000-000000000001', repeat('-', 36), repeat('0', 36), '01890000-0000-7000-8000-00000000000x']) m;
select is(pg_temp.apply('payment_intent.succeeded', '{"id": "pi_nobody", "metadata": {"payment_id": {"a": 1}}}'), 'not ours', 'metadata of another shape');
select is(pg_temp.apply('payment_intent.succeeded', '{}'), 'not ours', 'an empty object');
select is(pg_temp.apply(null, '{"object": "customer", "id": "cus_1"}'), 'not ours', 'another kind of object');

-- -- the currency
do $$ begin perform pg_temp.start('authorize'); end $$;
select test.refused($$ select pg_temp.apply('payment_intent.succeeded', test.intent(pg_temp.b(), 'succeeded') || '{"currency": "eur"}') $$, 'PT409', 'currency_mismatch',
  jsonb_build_object('payment_id', (test.payment(pg_temp.b())).id, 'ours', 'usd', 'theirs', 'eur'), 'another currency contradicts our books');
select test.refused($$ select pg_temp.apply('refund.created', test.refund(pg_temp.b(), 10) || '{"currency": "jpy"}') $$, 'PT409', 'currency_mismatch', '{"theirs": "jpy"}', 'of a refund too');
select is(pg_temp.apply('payment_intent.succeeded', test.intent(pg_temp.b(), 'succeeded') || '{"currency": "USD"}'), 'pending/captured', 'upper case is no other currency');
select is(pg_temp.apply('charge.dispute.created', jsonb_build_object('id', 'dp_cur', 'currency', 'eur', 'amount', 4300, 'payment_intent', test.intent_id(pg_temp.b()))), 'pending/captured', 'a dispute may have another one');
select throws_ok($$ select pg_temp.apply('payment_intent.succeeded', test.intent(pg_temp.b(), 'succeeded', 5001)) $$, '23514',
  'new row for relation "payments" violates check constraint "payments_check"', 'more than the price contradicts our books');

-- -- the booking follows in the same commit
do $$ begin perform pg_temp.start('prepare', 'instant'); end $$;
select is(pg_temp.apply('charge.succeeded', test.charge(pg_temp.b(), true)), 'confirmed/captured', 'captured confirms an instant slot''s booking');
select results_eq($$ select actor, reason from booking.booking_events where booking_id = pg_temp.b() $$, $$ values ('stripe', 'paid') $$, 'by Stripe''s word');
select is(pg_temp.apply('payment_intent.succeeded', test.intent(pg_temp.b(), 'succeeded')), 'confirmed/captured', 'once');
select is((select count(*) from booking.booking_events where booking_id = pg_temp.b()), 1::bigint, 'in the audit trail too');
do $$ begin perform pg_temp.start('prepare', 'instant'); end $$;
select is(pg_temp.apply('payment_intent.succeeded', test.intent(pg_temp.b(), 'succeeded', 0)), 'pending/authorized', 'not before the money is there');
do $$ begin perform booking.cancel_booking_transaction(test.student(pg_temp.b()), pg_temp.b()); end $$;
select is(pg_temp.apply('charge.succeeded', test.charge(pg_temp.b(), true)), 'cancelled/captured', 'nor one that is dead');
select is(test.commands(pg_temp.b()), array['cancel_payment_intent done/superseded', 'create_refund pending'], 'its money goes back');
do $$ begin perform pg_temp.start('authorize'); end $$;
select is(pg_temp.apply('charge.captured', test.charge(pg_temp.b(), true)), 'pending/captured', 'a capture that we did not ask for is kept, the expert decides');
select is((select command_id from booking.confirm_booking_transaction(test.expert(pg_temp.b()), pg_temp.b())), null, 'confirm then sends no command');
do $$ begin perform pg_temp.start('confirm'); end $$;
select is(pg_temp.apply('payment_intent.canceled', test.intent(pg_temp.b(), 'canceled')), 'cancelled/cancelled', 'a hold that Stripe released ends a confirmed booking');
select is(pg_temp.taken(), 0, 'its seat is free');
select results_eq($$ select cancelled_by, cancellation_reason, refund_percent::int from booking.bookings where id = pg_temp.b() $$,
  $$ values ('system', 'payment_cancelled', 100) $$, 'by the system');
select is(test.commands(pg_temp.b()), array['capture_payment_intent done/superseded'], 'nothing is asked of Stripe any more');
do $$ begin perform pg_temp.start('confirm'); end $$;
select is(pg_temp.apply('charge.expired', test.charge(pg_temp.b())) || ' ' || pg_temp.taken(), 'cancelled/cancelled 0', 'a hold that lapsed as well');
do $$ begin perform pg_temp.start('capture'); end $$;
select is(pg_temp.apply('payment_intent.canceled', test.intent(pg_temp.b(), 'canceled')) || ' ' || pg_temp.taken(), 'confirmed/captured 1', 'what is captured cannot be canceled: nothing happens');
select is(pg_temp.apply('charge.expired', test.charge(pg_temp.b())) || ' ' || pg_temp.taken(), 'confirmed/captured 1', 'nor lapse');
do $$ begin perform pg_temp.start('authorize'); perform booking.confirm_booking_transaction(test.expert(pg_temp.b()), pg_temp.b(), 'decline'); end $$;
select is(pg_temp.apply('payment_intent.canceled', test.intent(pg_temp.b(), 'canceled')) || ' ' || pg_temp.taken(), 'declined/cancelled 0', 'a declined booking stays declined, its seat is freed once');


-- -- money for a hold that had lapsed
create temp table h (n text, id uuid, class uuid);
create function pg_temp.lapsed(p_n text, p_full boolean default false) returns void language plpgsql as $$
declare v_class uuid := test.make_class(1);
begin
  delete from h;
  insert into h select p_n, test.hold_seat(v_class, 'ann'), v_class;
  perform test.lapse(id) from h;
  if p_full then perform test.hold_seat(v_class, 'bob'); end if;
end $$;
create function pg_temp.arrives(p_type text, p_object jsonb) returns text language plpgsql as $$
begin
  perform booking.apply_stripe_object(p_object, p_type, booking.clock(), 'evt_y');
  return (select concat_ws(' ', b.status, n.status, p.status, test.seats_taken(class)) || ': ' || array_to_string(test.commands(h.id), ', ')
    from h join booking.bookings b on b.id = h.id join booking.payments p on p.id = b.payment_id
    left join booking.bookings n on n.id = p.booking_id and n.id <> b.id);
end $$;
do $$ begin perform pg_temp.lapsed('webhook'); end $$;
select is(test.commands(id), array['cancel_payment_intent pending'], 'the hold has lapsed: its PaymentIntent is to be cancelled') from h;
select is(pg_temp.arrives('payment_intent.processing', test.intent(id, 'processing')), 'cancelled processing 0: cancel_payment_intent pending', 'on its way is not there') from h;
select is(pg_temp.arrives('payment_intent.succeeded', test.intent(id, 'succeeded', 0)), 'cancelled authorized 0: cancel_payment_intent pending', 'succeeded without an amount neither') from h;
select is(pg_temp.arrives('payment_intent.succeeded', test.intent(id, 'succeeded')), 'cancelled confirmed captured 1: cancel_payment_intent done/superseded',
  'its money arrives: seated again in a new booking, and the cancel that nobody sent is dropped') from h;
select is(pg_temp.arrives('charge.succeeded', test.charge(id, true)), 'cancelled confirmed captured 1: cancel_payment_intent done/superseded', 'the charge''s event changes nothing') from h;
select is(pg_temp.arrives('payment_intent.succeeded', test.intent(id, 'succeeded')), 'cancelled confirmed captured 1: cancel_payment_intent done/superseded', 'nor the same again') from h;
select is(count(*), 1::bigint, 'one new booking') from h, booking.bookings b where b.slot_id = h.class and b.id <> h.id;
do $$ begin perform pg_temp.lapsed('charge'); end $$;
select is(pg_temp.arrives('charge.succeeded', test.charge(id, true)), 'cancelled confirmed captured 1: cancel_payment_intent done/superseded', 'the charge may be first') from h;
do $$ begin perform pg_temp.lapsed('full', true); end $$;
select is(pg_temp.arrives('payment_intent.succeeded', test.intent(id, 'succeeded')), 'cancelled captured 1: cancel_payment_intent done/superseded, create_refund pending', 'no seat: all of it goes back') from h;
do $$ begin perform booking.cancel_booking_transaction('bob', test.seat_of(class, 'bob')) from h; end $$;
select is(pg_temp.arrives('charge.succeeded', test.charge(id, true)), 'cancelled captured 0: cancel_payment_intent done/superseded, create_refund pending',
  'a seat that comes free later changes nothing: the refund is on its way') from h;
-- a cancel that was sent already: its outcome must be known, and can only be a refusal
do $$ begin perform pg_temp.lapsed('sent'); perform booking.claim_stripe_command(test.open_command(id), 'w') from h; end $$;
select is(pg_temp.arrives('payment_intent.succeeded', test.intent(id, 'succeeded')), 'cancelled confirmed captured 1: cancel_payment_intent running', 'seated again while the cancel is at Stripe') from h;
do $$ begin perform booking.fail_stripe_command(c.id, 'w', jsonb_build_object('code', 'payment_intent_unexpected_state', 'http_status', 400,
  'payment_intent', test.intent(h.id, 'succeeded')), false) from h, booking.bookings b, booking.stripe_commands c where b.id = h.id and c.payment_id = b.payment_id; end $$;
select is(pg_temp.arrives('payment_intent.succeeded', test.intent(id, 'succeeded')), 'cancelled confirmed captured 1: cancel_payment_intent done/refused', 'Stripe refuses it: all is well') from h;
do $$ begin perform pg_temp.lapsed('applied'); perform test.run_commands(id) from h; end $$;
select is(pg_temp.arrives('payment_intent.succeeded', test.intent(id, 'succeeded')), 'cancelled cancelled 0: cancel_payment_intent done/applied, create_refund pending',
  'paid although it had been canceled (which Stripe never says): outside our books, given back') from h;
select is_empty($$ select * from booking.check_invariants() $$, 'seats, books and statistics add up');

-- -- PaymentIntents that are not the one we keep
create function pg_temp.stray() returns text[] language sql as $$
  select coalesce(array_agg(operation || ' ' || status order by ctid), '{}') from booking.stripe_commands where stripe_id = 'pi_stray' and payment_id = (test.payment(pg_temp.b())).id $$;
create function pg_temp.second(p_type text, p_object jsonb) returns text language plpgsql as $$
begin
  delete from booking.stripe_commands where stripe_id = 'pi_stray';
  perform pg_temp.start('authorize');
  return pg_temp.apply(p_type, p_object || jsonb_build_object('metadata', jsonb_build_object('payment_id', (test.payment(pg_temp.b())).id)));
end $$;
do $$ begin perform pg_temp.start('authorize'); end $$;
create temp table o as select test.intent(pg_temp.b()) || '{"id": "pi_stray"}' as intent, test.charge(pg_temp.b()) || '{"payment_intent": "pi_stray"}' as charge;
select is(pg_temp.second('payment_intent.amount_capturable_updated', intent), 'pending/authorized', 'a second hold leaves our books as they are') from o;
select is(pg_temp.stray(), array['cancel_payment_intent pending'], 'and is released');
select is(pg_temp.second('payment_intent.requires_action', intent), 'pending/authorized', 'one that is not paid yet') from o;
select is(pg_temp.stray(), array['cancel_payment_intent pending'], 'is cancelled before anybody pays it');
select is(pg_temp.second('charge.succeeded', charge || '{"captured": true, "amount_captured": 5000}'), 'pending/authorized', 'a second capture') from o;
select is(pg_temp.stray(), array['create_refund pending'], 'is refunded');
select is((select params ->> 'amount' from booking.stripe_commands where stripe_id = 'pi_stray'), '5000', 'whole');
select is(pg_temp.second('payment_intent.canceled', intent || '{"status": "canceled"}'), 'pending/authorized', 'its end does not end ours') from o;
select is(pg_temp.stray(), '{}', 'and leaves nothing to do');
select is(pg_temp.taken(), 1, 'the seat stays');
select is(pg_temp.second('charge.expired', charge), 'pending/authorized', 'nor does the end of its hold') from o;
select is(pg_temp.second('charge.refunded', charge || '{"amount_refunded": 5000, "captured": false}'), 'pending/authorized', 'its released hold is no refund of ours') from o;
select is((test.payment(pg_temp.b())).charge_refunded, 0::bigint, 'in no column');
select is(pg_temp.second('refund.failed', '{"id": "re_stray", "object": "refund", "payment_intent": "pi_stray", "amount": 5000, "currency": "usd", "status": "failed"}'),
  'pending/authorized', 'its refund is not ours');
select results_eq($$ select kind, detail ->> 'stripe_id' from booking.alerts where subject = 're_stray' $$, $$ values ('refund_failed', 'pi_stray') $$, 'but when it fails a person is told');
select is_empty($$ select 1 from booking.refunds where stripe_refund_id = 're_stray' $$, 'it enters no book');
select is((test.payment(pg_temp.b())).stripe_payment_intent_id <> 'pi_stray', true, 'the PaymentIntent that we keep is never exchanged');

-- -- the outbox follows
do $$ begin perform pg_temp.start('prepare'); perform booking.cancel_booking_transaction(test.student(pg_temp.b()), pg_temp.b()); end $$;
select is(pg_temp.apply('payment_intent.amount_capturable_updated', test.intent(pg_temp.b())), 'cancelled/authorized', 'an authorization of a dead booking');
select is(test.commands(pg_temp.b()), array['cancel_payment_intent pending'], 'is released by itself');
do $$ begin perform pg_temp.start('authorize', p_n => 'y'); end $$;
select is(test.state(pg_temp.b('y')), 'pending/authorized', 'others are not touched');
select is_empty($$ select * from booking.check_invariants() $$, 'and all the books are right');
select * from finish();
