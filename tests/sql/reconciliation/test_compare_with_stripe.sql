-- booking.compare_with_stripe(): what differs is found, each for what it is; what agrees, is on its way or harms nobody is not.
select * from no_plan();
update booking.settings set reports_foreign_payments = false; -- other systems share the account here
select test.set_clock('2026-03-10 12:00Z');

-- -- payments in every state, as they come about -----------------------------------------------------------------------
create temp table b (what text primary key, id uuid);
insert into b select what, test.book(test.make_slot('30 hours', 1, confirmation)) from (values
  ('no intent', 'expert'), ('unpaid', 'expert'), ('declined card', 'expert'), ('secure', 'expert'), ('bank', 'expert'), ('held', 'expert'),
  ('captured', 'expert'), ('in part', 'expert'), ('partly refunded', 'expert'), ('refunded', 'expert'), ('refund failed', 'expert'), ('refund pending', 'expert'),
  ('dashboard', 'expert'), ('released', 'expert'), ('expired hold', 'expert'), ('never paid', 'expert'), ('instant', 'instant'), ('too late', 'expert')) v (what, confirmation);
create function pg_temp.b(p_what text) returns uuid language sql as $$ select id from b where what = p_what $$;
create function pg_temp.pay(p_what text) returns uuid language sql as $$ select payment_id from booking.bookings where id = pg_temp.b(p_what) $$;
do $$ begin
  perform booking.prepare_payment_intent(test.student(id), id) from b where what in ('no intent');
  perform test.prepare(id) from b where what not in ('no intent', 'never paid');
  perform test.event('payment_intent.payment_failed', test.intent(id, 'requires_payment_method')) from b where what = 'declined card';
  perform test.event('payment_intent.requires_action', test.intent(id, 'requires_action')) from b where what = 'secure';
  perform test.event('payment_intent.processing', test.intent(id, 'processing')) from b where what = 'bank';
  perform test.authorize(id) from b where what in ('held', 'released', 'expired hold');
  perform test.capture(id) from b where what in ('captured', 'partly refunded', 'refunded', 'refund failed', 'refund pending', 'dashboard');
  perform test.event('payment_intent.amount_capturable_updated', test.intent(id)), test.event('charge.captured', test.charge(id, true, 2000, 3000)) from b where what = 'in part';
  perform test.event('payment_intent.succeeded', test.intent(id, 'succeeded')) from b where what = 'instant';
  perform test.event('refund.created', test.refund(id, 700, 're_part')) from b where what = 'partly refunded';
  perform test.event('refund.created', test.refund(id, 800, 're_pending', 'pending')) from b where what = 'refund pending';
  perform test.event('charge.refunded', test.charge(id, true, 1500, 5000)) from b where what = 'dashboard'; -- the refund's own event is lost
  perform booking.cancel_booking_transaction(test.student(id), id) from b where what in ('refunded', 'released', 'never paid');
  perform test.run_commands(id) from b where what in ('refunded', 'released');
  perform test.event('refund.created', test.refund(id, 5000, 're_fails')), test.event('refund.failed', test.refund(id, 5000, 're_fails', 'failed')) from b where what = 'refund failed';
  perform test.event('charge.expired', test.charge(id, false, 5000)) from b where what = 'expired hold';
  -- paid after it had ended: given back whole, the money never entered our books
  perform test.event('payment_intent.canceled', test.intent(id, 'canceled')), test.event('payment_intent.succeeded', test.intent(id, 'succeeded')) from b where what = 'too late';
end $$;
select is_empty('select * from booking.check_invariants()', 'the scene is sound');
select results_eq($$ select what, test.state(id) from b where what in ('in part', 'dashboard', 'refund failed', 'expired hold', 'too late') order by 1 $$,
  $$ values ('dashboard', 'confirmed/partially_refunded'), ('expired hold', 'cancelled/cancelled'), ('in part', 'pending/captured'),
     ('refund failed', 'confirmed/captured'), ('too late', 'cancelled/cancelled') $$, 'and as it was meant');

-- What Stripe has of each when all is well. The hold that expired shows on the charge before Stripe cancels the PaymentIntent.
create temp table s as select what, id, test.at_stripe(id) as objects from b where exists (select from booking.payments p where p.booking_id = b.id and p.stripe_payment_intent_id is not null);
update s set objects = jsonb_build_array(test.intent(id), test.charge(id, false, 5000)) where what = 'expired hold';
update s set objects = jsonb_build_array(test.intent(id, 'succeeded'), test.charge(id, true, 5000), test.refund(id, 5000)) where what = 'too late';
update s set objects = objects || jsonb_build_array(test.refund(id, 1500, 're_dashboard')) where what = 'dashboard';
-- a declined attempt leaves a charge, too
update s set objects = objects || jsonb_build_array(test.charge(id) || '{"id": "ch_declined", "status": "failed"}') where what in ('captured', 'declined card');
create function pg_temp.everything() returns jsonb language sql as $$ select jsonb_agg(e) from s, jsonb_array_elements(objects) e $$;

create function pg_temp.run(p_objects jsonb) returns uuid language plpgsql as $$
declare
  v_run uuid := booking.begin_reconciliation(booking.clock() - interval '1 hour', booking.clock() + interval '1 hour');
begin
  perform booking.record_stripe_objects(v_run, p_objects);
  return v_run;
end
$$;
create function pg_temp.compared(p_objects jsonb) returns table (payment_id uuid, order_id uuid, stripe_id text, kind text, ours text, theirs text, waits_for text)
language plpgsql as $$
declare
  v_run uuid := pg_temp.run(p_objects);
begin
  return query select * from booking.compare_with_stripe(v_run);
end
$$;
-- What differs when one payment's objects are replaced: 'what kind ours theirs [waits_for]'.
create function pg_temp.found(p_what text, p_objects jsonb) returns text[] language sql as $$
  select coalesce(array_agg(concat_ws(' ', d.kind, coalesce(d.ours, '-'), coalesce(d.theirs, '-'), d.waits_for) order by d.kind), '{}')
  from pg_temp.compared(coalesce((select jsonb_agg(e) from s, jsonb_array_elements(s.objects) e where s.what <> p_what), '[]') || p_objects) d
  where d.kind <> 'incomplete'
$$;
create function pg_temp.but(p_what text, p_kind text, p_fields jsonb) returns text[] language sql as $$
  select pg_temp.found(p_what, test.but(objects, p_kind, p_fields)) from s where what = p_what $$;

-- -- what agrees --------------------------------------------------------------------------------------------------------
select is_empty('select * from pg_temp.compared(pg_temp.everything())', 'when all is well, nothing differs and nothing is doubtful');
select is(pg_temp.found(what, objects), '{}', what || ': nothing differs') from s;
select is(pg_temp.but('unpaid', 'payment_intent', '{"status": "requires_confirmation"}'), '{}', 'a card was entered: no difference');
select is(pg_temp.but('dashboard', 'refund', '{"amount": 500}'), '{}', 'one of two refunds was shown, and none told to us: the charge has their sum');
select is(pg_temp.but('unpaid', 'payment_intent', '{"status": "a_new_one"}'), '{}', 'a status that Stripe invents later says nothing');
select is(pg_temp.found('declined card', jsonb_build_array(test.intent(pg_temp.b('declined card'), status))), '{}',
  'a new attempt in the same second as a decline: ' || status) from unnest(array['requires_action', 'processing']) status;
select is(pg_temp.found('in part', test.without(objects, 'payment_intent')), '{}', 'a charge alone is compared, too, without a word on the status') from s where what = 'in part';
select is(pg_temp.found('released', jsonb_build_array(test.intent(pg_temp.b('released'), 'canceled'), test.charge(pg_temp.b('released'), false, 5000))), '{}',
  'a released hold is no refund');

-- -- what differs -------------------------------------------------------------------------------------------------------
select is(pg_temp.but(what, kind, fields), found, format('%s: %s %s', what, kind, fields))
from (values
  ('unpaid', 'payment_intent', '{"amount": 4000}'::jsonb, array['amount 5000 4000']),
  ('captured', 'payment_intent', '{"amount": 6000}', array['amount 5000 6000']),
  ('captured', 'payment_intent', '{"currency": "eur"}', array['amount 5000 usd 5000 eur']),
  ('captured', 'payment_intent', '{"amount_received": 4000}', array['captured 5000 4000']),
  ('captured', 'charge', '{"amount_captured": 4000, "amount_refunded": 1000}', array['captured 5000 4000']),
  ('captured', 'charge', '{"amount_refunded": 500}', array['refunded 0 500']),
  ('captured', 'charge', '{"amount_refunded": 5000, "refunded": true}', array['refunded 0 5000']),
  ('captured', 'payment_intent', '{"status": "canceled", "amount_received": 5000}', array['status captured canceled']),
  ('in part', 'charge', '{"amount_refunded": 2100}', array['refunded 0 100']),
  ('partly refunded', 'charge', '{"amount_refunded": 0}', array['refunded 700 0']),
  ('partly refunded', 'refund', '{"amount": 900}', array['refunded 700 900']),
  ('partly refunded', 'refund', '{"status": "failed"}', array['refunded 700 0']),
  ('refund failed', 'refund', '{"status": "succeeded"}', array['refunded 0 5000']),
  ('dashboard', 'refund', '{"amount": 1600}', array['refunded 1500 1600']),
  ('refunded', 'charge', '{"amount_refunded": 4900, "refunded": false}', array['refunded 5000 4900']),
  ('held', 'payment_intent', '{"status": "canceled"}', array['status authorized canceled']),
  ('held', 'charge', '{"refunded": true, "amount_refunded": 5000}', array['status authorized requires_capture']),
  ('held', 'payment_intent', '{"status": "succeeded", "amount_received": 5000}', array['captured 0 5000', 'status authorized succeeded']),
  ('held', 'payment_intent', '{"status": "requires_payment_method"}', array['status authorized requires_payment_method']),
  ('released', 'payment_intent', '{"status": "requires_capture"}', array['status cancelled requires_capture']),
  ('unpaid', 'payment_intent', '{"status": "requires_capture"}', array['status pending requires_capture']),
  ('unpaid', 'payment_intent', '{"status": "requires_action"}', array['status pending requires_action']),
  ('unpaid', 'payment_intent', '{"status": "processing"}', array['status pending processing']),
  ('secure', 'payment_intent', '{"status": "requires_payment_method"}', array['status requires_action requires_payment_method']),
  ('bank', 'payment_intent', '{"status": "requires_payment_method"}', array['status processing requires_payment_method']),
  ('instant', 'payment_intent', '{"status": "requires_capture", "amount_received": 0}', array['captured 5000 0', 'status captured requires_capture']),
  ('captured', 'payment_intent', '{"status": "succeeded", "amount_received": 0}', array['captured 5000 0', 'status captured succeeded'])) v (what, kind, fields, found);
select is(pg_temp.found('captured', objects || jsonb_build_array(test.refund(id, 300, 're_new'))), array['refunded 0 300'], 'a refund that nobody told us of, its charge from before it') from s where what = 'captured';
select is(pg_temp.found('captured', test.without(objects, 'charge')), '{}', 'without a charge nothing is said of refunds') from s where what = 'captured';
select is(pg_temp.found('partly refunded', test.without(test.without(objects, 'refund'), 'charge')), '{}', 'nor is a refund missed that was not shown') from s where what = 'partly refunded';
select is(pg_temp.found('captured', '[]'), array['missing_at_stripe captured 5000 usd -'], 'a payment that Stripe does not show');
select is(pg_temp.found('no intent', '[]'), '{}', 'but not one that never got a PaymentIntent');
select is(pg_temp.found('captured', test.without(objects, 'payment_intent')), '{}', 'nor one whose charge Stripe does show') from s where what = 'captured';
select is(pg_temp.found('too late', jsonb_build_array(test.intent(pg_temp.b('too late'), 'succeeded'), test.charge(pg_temp.b('too late'), true, 4000))),
  array['captured 0 5000 outbox', 'refunded 0 4000 outbox', 'status cancelled succeeded outbox'], 'money taken after the end is given back by the outbox');
update booking.stripe_commands set status = 'dead' where payment_id = pg_temp.pay('too late') and operation = 'create_refund';
select is(pg_temp.found('too late', jsonb_build_array(test.intent(pg_temp.b('too late'), 'succeeded'), test.charge(pg_temp.b('too late'), true, 4000))),
  array['captured 0 5000', 'refunded 0 4000', 'status cancelled succeeded'], 'and differs when that is dead');

-- -- whose is it? -------------------------------------------------------------------------------------------------------
create function pg_temp.stray(p_status text, p_metadata jsonb, p_more jsonb default '{}') returns jsonb language sql as $$
  select jsonb_build_object('id', 'pi_stray', 'object', 'payment_intent', 'amount', 900, 'amount_received', case p_status when 'succeeded' then 900 else 0 end,
    'currency', 'eur', 'status', p_status, 'metadata', p_metadata) || p_more $$;
create function pg_temp.names(p_what text) returns jsonb language sql as $$ select jsonb_build_object('payment_id', pg_temp.pay(p_what)) $$;
create function pg_temp.strays(p_objects jsonb) returns text[] language sql as $$
  select coalesce(array_agg(concat_ws(' ', d.kind, d.stripe_id, coalesce(d.theirs, '-'), d.waits_for)), '{}')
  from pg_temp.compared(pg_temp.everything() || p_objects) d where d.kind <> 'incomplete' and d.stripe_id = 'pi_stray' $$;
select is(pg_temp.strays(jsonb_build_array(pg_temp.stray(status, '{"payment_id": "019cd7c6-be7b-7a5c-8123-456789abcdef"}'))), array['missing_here pi_stray ' || status || ' 900 eur'],
  'it names a payment that we do not know: ' || status) from unnest(array['succeeded', 'requires_payment_method', 'requires_capture', 'canceled']) status;
select is(d.payment_id, null, 'there is no payment of ours to name') from pg_temp.compared(pg_temp.everything()
  || jsonb_build_array(pg_temp.stray('succeeded', '{"payment_id": "019cd7c6-be7b-7a5c-8123-456789abcdef"}'))) d where d.kind = 'missing_here';
select is(pg_temp.strays(jsonb_build_array(pg_temp.stray('succeeded', metadata))), '{}', 'of another system: ' || metadata::text)
from (values ('{}'::jsonb), ('null'), ('{"payment_id": "17"}'), ('{"booking": "x"}'), ('{"order_id": "1001"}')) v (metadata);
update booking.settings set reports_foreign_payments = true;
select is(pg_temp.strays(jsonb_build_array(pg_temp.stray(status, metadata))), array['missing_here pi_stray ' || status || ' 900 eur'],
  'where the account is ours alone, nobody knows it: ' || status || ' ' || metadata::text)
from (values ('{}'::jsonb), ('null'), ('{"payment_id": "17"}')) v (metadata), unnest(array['succeeded', 'requires_capture', 'requires_payment_method']) status;
select is(pg_temp.strays(jsonb_build_array(pg_temp.stray('canceled', '{}'))), '{}', 'but one that is canceled harms nobody');
update booking.settings set reports_foreign_payments = false;
select is(pg_temp.strays(jsonb_build_array(pg_temp.stray(status, pg_temp.names('captured')))), array['missing_here pi_stray ' || status || ' 900 eur'],
  'a second one of a payment, ' || status || ': something of it is left')
from unnest(array['succeeded', 'requires_capture', 'requires_payment_method', 'processing']) status;
select is(d.payment_id, pg_temp.pay('captured'), 'the payment that it names is said') from pg_temp.compared(pg_temp.everything()
  || jsonb_build_array(pg_temp.stray('succeeded', pg_temp.names('captured')))) d where d.kind = 'missing_here';
create function pg_temp.stray_charge(p_more jsonb) returns jsonb language sql as $$
  select '{"id": "ch_stray", "object": "charge", "payment_intent": "pi_stray", "amount": 900, "amount_captured": 900, "amount_refunded": 0, "captured": true, "refunded": false,
    "status": "succeeded", "currency": "eur"}'::jsonb || p_more $$;
select is(pg_temp.strays(objects), '{}', what) from (values
  (jsonb_build_array(pg_temp.stray('canceled', pg_temp.names('captured'))), 'a second one that is canceled harms nobody'),
  (jsonb_build_array(pg_temp.stray('succeeded', pg_temp.names('captured')), pg_temp.stray_charge('{"amount_refunded": 900}')), 'nor one that was given back whole'),
  (jsonb_build_array(pg_temp.stray('requires_capture', pg_temp.names('captured')), pg_temp.stray_charge('{"captured": false, "refunded": true}')), 'nor one whose hold is gone'),
  (jsonb_build_array(pg_temp.stray_charge('{}')), 'a charge that names nobody is another system''s')) v (objects, what);
select is(pg_temp.strays(jsonb_build_array(pg_temp.stray('succeeded', pg_temp.names('captured')), pg_temp.stray_charge('{"amount_refunded": 800}'))),
  array['missing_here pi_stray succeeded 900 eur'], 'but one of which a part was kept');
select is(pg_temp.strays(jsonb_build_array(pg_temp.stray_charge('{}') || jsonb_build_object('metadata', pg_temp.names('captured')))),
  array['missing_here pi_stray -'], 'a charge of such a one, its PaymentIntent outside of the window');
do $$ begin perform booking.record_payment_intent(pg_temp.pay('captured'), 'pi_stray'); end $$;
select is(pg_temp.strays(jsonb_build_array(pg_temp.stray('requires_payment_method', pg_temp.names('captured')))),
  array['missing_here pi_stray requires_payment_method 900 eur outbox'], 'one that is being cancelled only waits');

-- a payment without a PaymentIntent: the one that names it is its own, while it lives
select is(pg_temp.found('no intent', jsonb_build_array(pg_temp.stray('requires_payment_method', pg_temp.names('no intent'), '{"amount": 5000, "currency": "usd", "id": "pi_other"}'))), '{}',
  'made, and not recorded yet: no difference');
select is(pg_temp.found('no intent', jsonb_build_array(pg_temp.stray('succeeded', pg_temp.names('no intent'), '{"amount": 5000, "currency": "usd", "id": "pi_other", "amount_received": 5000}'))),
  array['captured 0 5000', 'status pending succeeded'], 'but paid, and nobody told us');
do $$ begin perform booking.cancel_booking_transaction(test.student(pg_temp.b('no intent')), pg_temp.b('no intent')); end $$;
select is(pg_temp.found('no intent', jsonb_build_array(pg_temp.stray(status, pg_temp.names('no intent'), '{"amount": 5000, "currency": "usd", "id": "pi_other"}'))), found,
  'it ended without one: ' || status) from (values ('canceled', '{}'::text[]), ('requires_payment_method', array['missing_here - requires_payment_method 5000 usd'])) v (status, found);

-- -- orders -------------------------------------------------------------------------------------------------------------
create temp table o (what text primary key, id uuid);
insert into o select what, test.open_order() from unnest(array['open', 'declined', 'paid', 'expired', 'late', 'free']) what;
create function pg_temp.o(p_what text) returns uuid language sql as $$ select id from o where what = p_what $$;
do $$ begin
  perform test.event('checkout.session.completed', test.checkout_session(id)) from o where what = 'paid';
  perform test.event('checkout.session.completed', test.checkout_session(id, 'complete', 'no_payment_required') || '{"payment_intent": null}') from o where what = 'free';
  perform test.event('checkout.session.completed', test.checkout_session(id, 'complete', 'unpaid')) from o where what = 'late'; -- a bank debit
  perform test.event('checkout.session.expired', test.checkout_session(id, 'expired')) from o where what = 'expired';
end $$;
-- An order's PaymentIntent (and charge) as Stripe has it.
create function pg_temp.order_intent(p_what text, p_status text, p_more jsonb default '{}') returns jsonb language sql as $$
  select jsonb_build_array(jsonb_build_object('id', 'pi_' || replace(id::text, '-', ''), 'object', 'payment_intent', 'amount', 1900, 'currency', 'eur', 'status', p_status,
      'amount_received', case p_status when 'succeeded' then 1900 else 0 end, 'metadata', jsonb_build_object('order_id', id)) || p_more)
    || case p_status when 'succeeded' then jsonb_build_array(jsonb_build_object('id', 'ch_' || id, 'object', 'charge', 'payment_intent', 'pi_' || replace(id::text, '-', ''),
      'amount', 1900, 'amount_captured', 1900, 'captured', true, 'status', 'succeeded', 'currency', 'eur', 'metadata', jsonb_build_object('order_id', id))) else '[]' end
  from o where what = p_what $$;
create function pg_temp.of_order(p_what text, p_objects jsonb) returns text[] language sql as $$
  select coalesce(array_agg(concat_ws(' ', d.kind, coalesce(d.ours, '-'), coalesce(d.theirs, '-'), d.waits_for) order by d.kind) filter (where d.kind <> 'incomplete'), '{}')
  from pg_temp.compared(pg_temp.everything() || pg_temp.order_intent('paid', 'succeeded') || pg_temp.order_intent('late', 'processing') || p_objects) d
  where d.kind <> 'incomplete' and (d.order_id = pg_temp.o(p_what) or d.stripe_id = 'pi_' || replace(pg_temp.o(p_what)::text, '-', '')) $$;
select is_empty($$ select * from pg_temp.compared(pg_temp.everything() || pg_temp.order_intent('paid', 'succeeded') || pg_temp.order_intent('late', 'processing')
    || pg_temp.order_intent('declined', 'requires_payment_method') || pg_temp.order_intent('expired', 'canceled')) $$, 'orders that agree: open without a PaymentIntent, declined, paid, free, waiting for a bank, expired');
select is(pg_temp.of_order(what, pg_temp.order_intent(what, status, more)), found, format('order %s: %s %s', what, status, more))
from (values
  ('paid', 'succeeded', '{"amount": 2000}'::jsonb, array['amount 1900 2000']),
  ('paid', 'succeeded', '{"currency": "usd"}', array['amount 1900 eur 1900 usd']),
  ('paid', 'succeeded', '{"amount_received": 1800}', array['captured 1900 1800']),
  ('paid', 'canceled', '{}', array['captured 1900 0', 'status paid canceled']),
  ('open', 'succeeded', '{}', array['captured 0 1900', 'status pending succeeded']),
  ('expired', 'succeeded', '{}', array['captured 0 1900', 'status expired succeeded']),
  ('late', 'succeeded', '{}', array['captured 0 1900', 'status pending succeeded']),
  ('late', 'requires_payment_method', '{}', '{}')) v (what, status, more, found);
select is(pg_temp.of_order('expired', test.but(pg_temp.order_intent('expired', 'succeeded'), 'charge', '{"amount_refunded": 1900}')), '{}', 'paid for nothing, and given back whole: harms nobody');
select is(pg_temp.of_order('paid', test.but(pg_temp.order_intent('paid', 'succeeded'), 'charge', '{"amount_refunded": 1900}')), '{}', 'refunds of orders are not compared');
select is(pg_temp.of_order('paid', pg_temp.order_intent('paid', 'succeeded', '{"id": "pi_paid_twice"}')), array['missing_here - succeeded 1900 eur'], 'a second payment of an order');
select results_eq($$ select kind, order_id, theirs, waits_for from pg_temp.compared(pg_temp.everything()
    || jsonb_build_array(pg_temp.stray('canceled', '{"order_id": "019cd7c6-be7b-7a5c-8123-456789abcdef"}', '{"id": "pi_lost"}'))) where stripe_id = 'pi_lost' $$,
  $$ values ('missing_here', null::uuid, 'canceled 900 eur', null::text) $$, 'it names an order that we do not know');
select set_eq($$ select d.order_id, d.kind from pg_temp.compared('[]') d where d.payment_id is null $$,
  $$ select id, 'missing_at_stripe' from o where what in ('paid', 'late') $$, 'orders that have a PaymentIntent and were not shown');
insert into s select what, null, pg_temp.order_intent(what, case what when 'paid' then 'succeeded' else 'processing' end) from o where what in ('paid', 'late');

-- -- the edges of the window ----------------------------------------------------------------------------------------------
create function pg_temp.missing(p_from timestamptz, p_to timestamptz) returns bigint language plpgsql as $$
declare
  v_run uuid := booking.begin_reconciliation(p_from, p_to);
begin
  return (select count(*) from booking.compare_with_stripe(v_run) d where d.kind = 'missing_at_stripe');
end
$$;
select is(pg_temp.missing('2026-03-10 12:00Z', '2026-03-10 13:00Z'), (select count(*) from s), 'a window has its first instant, of payments and orders');
select is(pg_temp.missing('2026-03-10 11:00Z', '2026-03-10 12:00Z'), 0::bigint, 'not its last');
select is(pg_temp.missing('2026-03-10 12:00:00.001Z', '2026-03-10 13:00Z'), 0::bigint, 'what was before is not looked for');
create function pg_temp.outside(p_objects jsonb) returns text[] language plpgsql as $$
declare
  v_run uuid := booking.begin_reconciliation('2026-04-01', '2026-04-02');
begin
  perform booking.record_stripe_objects(v_run, p_objects);
  return (select coalesce(array_agg(d.kind order by d.kind), '{}') from booking.compare_with_stripe(v_run) d);
end
$$;
select is(pg_temp.outside(test.at_stripe(pg_temp.b('captured'))), '{}', 'what Stripe shows is ours by its id, whenever it was made here');
select is(pg_temp.outside(test.but(test.at_stripe(pg_temp.b('captured')), 'charge', '{"amount_refunded": 1}')), array['refunded'], 'and compared');
select is(pg_temp.outside(test.without(test.at_stripe(pg_temp.b('captured')), 'payment_intent')), array['incomplete'], 'a charge whose PaymentIntent was made before the window is incomplete');
select is(pg_temp.outside(test.without(test.at_stripe(pg_temp.b('captured')), 'charge')), array['incomplete'], 'so is one that succeeded, without its charge');
select is(pg_temp.outside(test.without(test.at_stripe(pg_temp.b('held')), 'charge')), '{}', 'a hold needs none');
select is(pg_temp.outside(jsonb_build_array(test.refund(pg_temp.b('refunded'), 5000, (select stripe_refund_id from booking.refunds where payment_id = pg_temp.pay('refunded'))))),
  array['incomplete'], 'a refund alone is incomplete');
select is(pg_temp.outside(jsonb_build_array('{"id": "re_x", "object": "refund", "amount": 5, "currency": "eur", "status": "succeeded", "payment_intent": "pi_of_others"}'::jsonb,
  '{"id": "ch_x", "object": "charge", "amount": 5, "captured": true, "currency": "eur", "status": "succeeded", "payment_intent": null}'::jsonb)), '{}', 'other systems'' objects are not');

-- -- what is on its way ---------------------------------------------------------------------------------------------------
insert into b select what, test.book(test.make_slot('30 hours')) from unnest(array['capturing', 'refunding', 'releasing']) what;
do $$ begin
  perform test.authorize(id) from b where what in ('capturing', 'releasing');
  perform test.confirm(id) from b where what = 'capturing';
  perform test.capture(id) from b where what = 'refunding';
  perform booking.cancel_booking_transaction(test.student(id), id) from b where what in ('refunding', 'releasing');
end $$;
insert into s select what, id, test.at_stripe(id) from b where what in ('capturing', 'refunding', 'releasing');
select is(pg_temp.but(what, kind, fields), found, format('%s: %s %s', what, kind, fields))
from (values
  ('capturing', 'payment_intent', '{}'::jsonb, '{}'::text[]), ('refunding', 'payment_intent', '{}', '{}'), ('releasing', 'payment_intent', '{}', '{}'),
  ('capturing', 'payment_intent', '{"status": "succeeded", "amount_received": 5000}', array['captured 0 5000 outbox', 'status authorized succeeded outbox']),
  ('releasing', 'payment_intent', '{"status": "canceled"}', array['status authorized canceled outbox']),
  ('refunding', 'charge', '{"amount_refunded": 5000}', array['refunded 0 5000 outbox']),
  ('capturing', 'charge', '{"captured": true, "amount_captured": 5000, "amount_refunded": 100}', array['captured 0 5000 outbox', 'refunded 0 100']),
  ('refunding', 'payment_intent', '{"amount_received": 4000}', array['captured 5000 4000']),
  ('refunding', 'payment_intent', '{"status": "canceled"}', array['status captured canceled']),
  ('capturing', 'payment_intent', '{"amount": 4000}', array['amount 5000 4000'])) v (what, kind, fields, found);
select is(pg_temp.found('capturing', '[]'), array['missing_at_stripe authorized 5000 usd -'], 'no command explains that a PaymentIntent is not there');
select is(pg_temp.found('nothing', '[]'), '{}', 'and nothing else differs');

-- ours changed after Stripe was asked
create temp table moving as select pg_temp.run(test.at_stripe(pg_temp.b('held'))) as run;
select test.set_clock('2026-03-10 12:10Z');
do $$ begin perform test.event('payment_intent.canceled', test.intent(pg_temp.b('held'), 'canceled')); end $$;
create function pg_temp.of_held() returns text[] language sql as $$
  select array_agg(concat_ws(' ', d.kind, d.waits_for)) from booking.compare_with_stripe((select run from moving)) d where d.stripe_id = test.intent_id(pg_temp.b('held')) $$;
select is(pg_temp.of_held(), array['status'], 'whoever does not ask for the doubtful ones gets the plain comparison');
do $$ begin perform booking.list_doubtful_payments(run) from moving; end $$;
select is(pg_temp.of_held(), array['status moved'], 'what changed here after it was seen there is not judged');
do $$ begin perform booking.record_stripe_objects(run, test.at_stripe(pg_temp.b('held'))) from moving; end $$;
select is(pg_temp.of_held(), null, 'asked again, it agrees');
do $$ begin perform booking.record_stripe_objects(run, test.but(test.at_stripe(pg_temp.b('held')), 'payment_intent', '{"amount": 1}')) from moving; end $$;
select is(pg_temp.of_held(), array['amount'], 'or it does not');
select test.set_clock('2026-03-10 12:20Z');
insert into b select 'new', test.book(test.make_slot('30 hours'));
do $$ begin perform test.prepare(pg_temp.b('new')); end $$;
select is(waits_for, 'moved', 'what was made here after the last question cannot have been shown') from booking.compare_with_stripe((select run from moving)) d
where d.stripe_id = test.intent_id(pg_temp.b('new'));
select is_empty('select * from booking.check_invariants()', 'nothing was changed by looking')
where not exists (select from booking.stripe_commands where status = 'dead' and payment_id <> pg_temp.pay('too late'));
select * from finish();
