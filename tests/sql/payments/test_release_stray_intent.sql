-- booking.release_stray_intent(): a PaymentIntent that is not the one we keep is cancelled, or refunded whole; a person is told.
select plan(16);
create temp table t as select test.book() as b;
do $$ begin perform test.authorize(b) from t; end $$;
create temp table p as select (test.payment(b)).* from t;
create function pg_temp.stray(p_captured bigint) returns uuid language sql as $$
  select booking.release_stray_intent(p.id, 'pi_stray', p_captured) from p $$;
create function pg_temp.said() returns text[] language sql as $$
  select array_agg(operation || ' ' || status || coalesce('/' || outcome, '') order by ctid) from booking.stripe_commands where stripe_id = 'pi_stray' $$;
create temp table c as select pg_temp.stray(0) as id;
select is(pg_temp.said(), array['cancel_payment_intent pending'], 'what is only a hold is cancelled');
select is((select params from booking.stripe_commands join c using (id)), '{}'::jsonb, 'whole');
select results_eq($$ select a.kind, a.subject, a.detail from booking.alerts a $$,
  $$ select 'stray_payment_intent', 'pi_stray', jsonb_build_object('payment_id', p.id, 'captured', 0) from p $$, 'a person is told');
select is(pg_temp.stray(0), null, 'again: it is on its way');
select is((select times from booking.alerts), 2, 'the alert counts up');
create temp table r as select pg_temp.stray(5000) as id;
select is(pg_temp.said(), array['cancel_payment_intent done/superseded', 'create_refund pending'], 'once captured, a refund takes the place of the unsent cancel');
select is((select params - 'metadata' from booking.stripe_commands join r using (id)), '{"payment_intent": "pi_stray", "amount": 5000}'::jsonb, 'of all of it');
select is(pg_temp.stray(5000), null, 'again: never twice');
do $$ begin perform booking.claim_stripe_command(id, 'w') from r;
  perform booking.complete_stripe_command(id, 'w', jsonb_build_object('id', 're_s', 'object', 'refund', 'status', 'succeeded', 'amount', 5000,
    'currency', 'usd', 'payment_intent', 'pi_stray')) from r; end $$;
select is(pg_temp.stray(5000), null, 'nor after it is done');
select is(pg_temp.said(), array['cancel_payment_intent done/superseded', 'create_refund done/applied'], 'one refund in all');
select is(test.payment(b), (select p from booking.payments p join t on t.b = p.booking_id), 'our books do not hold it') from t;
select is_empty($$ select 1 from booking.transfers $$, 'nor does the ledger');
select is_empty($$ select 1 from booking.refunds $$, 'nor the refunds');
-- one that was sent must be known first
do $$ begin perform booking.release_stray_intent(p.id, 'pi_stray2', 0) from p;
  perform booking.claim_stripe_commands('w'); end $$;
select is(booking.release_stray_intent(p.id, 'pi_stray2', 5000), null, 'while a cancel is at Stripe no refund is queued') from p;
do $$ begin perform booking.fail_stripe_command(c.id, 'w', jsonb_build_object('code', 'payment_intent_unexpected_state', 'http_status', 400,
    'payment_intent', test.intent(t.b, 'succeeded') || '{"id": "pi_stray2"}'), false)
  from booking.stripe_commands c, t where c.stripe_id = 'pi_stray2'; end $$;
select results_eq($$ select operation, status::text, outcome::text from booking.stripe_commands where stripe_id = 'pi_stray2' order by ctid $$,
  $$ values ('cancel_payment_intent', 'done', 'refused'), ('create_refund', 'pending', null) $$, 'its refusal brings the refund');
-- dead is not asked for again
update booking.stripe_commands set status = 'dead' where stripe_id = 'pi_stray2' and operation = 'create_refund';
select is(booking.release_stray_intent(p.id, 'pi_stray2', 5000), null, 'a dead refund is a person''s work, not sent a second time') from p;
select * from finish();
