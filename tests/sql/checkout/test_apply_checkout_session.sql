-- booking.apply_checkout_session(): what Stripe says of a session becomes the order's status, whatever the order of arrival.
select no_plan();
select test.set_clock('2026-03-10 12:00Z');
create temp table t (n text primary key, id uuid);
create function pg_temp.id(p_n text) returns uuid language sql as $$ select id from t where n = p_n $$;
create function pg_temp.status(p_n text) returns text language sql as $$ select (test.order_row(pg_temp.id(p_n))).status::text $$;
create function pg_temp.said(p_n text, p_kind text, p_change jsonb default '{}', p_payment_status text default null) returns text language sql as $$
  select test.event('checkout.session.' || p_kind, test.checkout_session(pg_temp.id(p_n), case p_kind when 'expired' then 'expired' else 'complete' end, p_payment_status) || p_change) $$;
create function pg_temp.open(p_n text) returns void language sql as $$ insert into t values (p_n, test.open_order()) $$;

-- -- each event
select pg_temp.open(n) from unnest(array['paid', 'free', 'unpaid', 'async', 'async-failed', 'expired', 'other']) n;
select is(pg_temp.said('paid', 'completed'), 'processed', 'completed and paid');
select results_eq($$ select o.status::text, o.stripe_payment_intent_id, o.paid_at, o.closed_at, o.expires_at from test.order_row(pg_temp.id('paid')) o $$,
  $$ select 'paid', 'pi_' || replace(pg_temp.id('paid')::text, '-', ''), '2026-03-10 12:00Z'::timestamptz, '2026-03-10 12:00Z'::timestamptz, '2026-03-11 12:00Z'::timestamptz $$,
  'the order is paid, with the PaymentIntent''s id');
select is(pg_temp.said('free', 'completed', p_payment_status => 'no_payment_required'), 'processed', 'nothing to pay');
select is(pg_temp.status('free'), 'paid', 'is paid');
select is(pg_temp.said('unpaid', 'completed', p_payment_status => 'unpaid'), 'processed', 'completed, the bank takes its time');
select is(pg_temp.status('unpaid'), 'pending', 'is not paid yet');
select isnt((test.order_row(pg_temp.id('unpaid'))).stripe_payment_intent_id, null, 'the PaymentIntent is known');
select is(pg_temp.said('async', 'async_payment_succeeded'), 'processed', 'the bank''s yes');
select is(pg_temp.status('async'), 'paid', 'is paid');
select is(pg_temp.said('async-failed', 'async_payment_failed', p_payment_status => 'unpaid'), 'processed', 'the bank''s no');
select results_eq($$ select o.status::text, o.last_error, o.closed_at from test.order_row(pg_temp.id('async-failed')) o $$,
  $$ values ('failed', 'async_payment_failed', '2026-03-10 12:00Z'::timestamptz) $$, 'has failed, and says why');
select is(pg_temp.said('expired', 'expired'), 'processed', 'the session ran out');
select is(pg_temp.status('expired'), 'expired', 'so did the order');
select is(test.event('checkout.session.completed', '{"id": "cs_nobody", "object": "checkout.session", "payment_status": "paid", "metadata": {"order_id": "17"}}'), 'ignored',
  'a session of somebody else');
select is(test.event('checkout.session.created', test.checkout_session(pg_temp.id('other'), 'open')), 'ignored', 'another event');
select is(test.event('payment_intent.succeeded', jsonb_build_object('id', 'pi_x', 'object', 'payment_intent', 'status', 'succeeded', 'amount_received', 1900,
  'metadata', jsonb_build_object('order_id', pg_temp.id('other')))), 'ignored', 'the PaymentIntent of an order is no payment of a booking');
select results_eq($$ select action, actor from booking.audit_log where subject = pg_temp.id('paid')::text order by id offset 1 $$, $$ values ('order.pending', (test.order_row(pg_temp.id('paid'))).user_id), ('order.paid', 'stripe') $$,
  'session and payment are in the audit log');

-- -- any order, and duplicates
create function pg_temp.after(p_events text[]) returns text language plpgsql as $$
declare
  v_n text := test.unique('o');
  v_event text;
begin
  perform pg_temp.open(v_n);
  foreach v_event in array p_events loop
    if pg_temp.said(v_n, split_part(v_event, '/', 1), p_payment_status => nullif(split_part(v_event, '/', 2), '')) <> 'processed' then
      raise exception '% was not processed', v_event;
    end if;
  end loop;
  return pg_temp.status(v_n);
end
$$;
create temp table kinds (kind text, rank int, status text);
insert into kinds values ('completed/unpaid', 0, 'pending'), ('expired', 1, 'expired'), ('async_payment_failed/unpaid', 2, 'failed'), ('completed', 3, 'paid'), ('async_payment_succeeded', 3, 'paid');
select is(pg_temp.after(array[a.kind, b.kind, c.kind]), (select k.status from kinds k where k.rank = greatest(a.rank, b.rank, c.rank) limit 1),
  format('%s, %s, %s', a.kind, b.kind, c.kind)) from kinds a, kinds b, kinds c;

-- -- another amount, another currency
select pg_temp.open(n) from unnest(array['less', 'more', 'usd', 'coupon', 'mended']) n;
select is(pg_temp.said('less', 'completed', '{"amount_total": 1899}'), 'processed', 'paid less');
select is(pg_temp.said('more', 'completed', '{"amount_total": 1901}'), 'processed', 'paid more');
select is(pg_temp.said('usd', 'completed', '{"currency": "usd"}'), 'processed', 'paid in another currency');
select is(pg_temp.status(n) || ' ' || (test.order_row(pg_temp.id(n))).last_error || test.open_alerts(pg_temp.id(n)::text)::text, 'pending amount_mismatch{order_amount_mismatch}',
  n || ': not paid, and a person is told') from unnest(array['less', 'more', 'usd']) n;
select results_eq($$ select detail -> 'ours', detail -> 'theirs', detail ->> 'their_currency', detail ->> 'session_id' from booking.alerts where subject = pg_temp.id('less')::text $$,
  $$ select '1900'::jsonb, '1899'::jsonb, 'eur', test.session_id(pg_temp.id('less')) $$, 'with what was paid');
select is(pg_temp.said('coupon', 'completed', '{"amount_total": 0}', 'no_payment_required'), 'processed', 'Stripe wanted no payment');
select is(pg_temp.status('coupon') || test.open_alerts(pg_temp.id('coupon')::text)::text, 'paid{order_amount_mismatch}', 'is paid, and a person is told');
select is(pg_temp.said('mended', 'completed', '{"currency": "EUR"}'), 'processed', 'the currency in capitals');
select is(pg_temp.status('mended') || test.open_alerts(pg_temp.id('mended')::text)::text, 'paid{}', 'is the same currency');

-- -- the event is faster than finish_checkout(), or its server died
insert into t values ('fast', test.begin_order());
select is(pg_temp.said('fast', 'completed'), 'processed', 'paid before the session was recorded');
select is(pg_temp.status('fast') || (test.order_row(pg_temp.id('fast'))).stripe_session_id, 'paidcs_' || replace(pg_temp.id('fast')::text, '-', ''), 'is paid, with its session');

-- -- another session than the order's own
select pg_temp.open(n) from unnest(array['stray', 'stray-twice']) n;
select is(pg_temp.said('stray', 'expired', '{"id": "cs_stray1"}'), 'processed', 'another session of the order ran out');
select is(pg_temp.said('stray', 'async_payment_failed', '{"id": "cs_stray1"}'), 'processed', 'or failed');
select is(pg_temp.status('stray'), 'pending', 'which says nothing of the order');
select is(pg_temp.said('stray', 'completed', '{"id": "cs_stray1"}'), 'processed', 'it was paid');
select is(pg_temp.status('stray') || (test.order_row(pg_temp.id('stray'))).stripe_session_id, 'paid' || test.session_id(pg_temp.id('stray')), 'money counts; the session stays');
select is(test.open_alerts('cs_stray1'), '{stray_checkout_session}', 'and a person is told');
select is(pg_temp.said('stray-twice', 'completed'), 'processed', 'paid');
select is(pg_temp.said('stray-twice', 'completed', '{"id": "cs_stray2", "payment_intent": "pi_2"}'), 'processed', 'and paid through another session');
select is(test.open_alerts(pg_temp.id('stray-twice')::text), '{order_paid_twice}', 'is paid twice');
select is(pg_temp.said('stray-twice', 'completed'), 'processed', 'the first again');
select is((select sum(times) from booking.alerts where subject = pg_temp.id('stray-twice')::text), 1::bigint, 'is nothing new');

-- -- orders that superseded one another
create temp table p as select test.make_product() as id;
insert into t select 'first', test.open_order('anna', id) from p;
insert into t select 'second', test.open_order('anna', id) from p;
insert into t select 'third', test.open_order('anna', id) from p;
select is(test.order_commands(pg_temp.id('first')), '{expire_checkout_session pending}', 'its end is on its way');
select is(pg_temp.said('first', 'completed'), 'processed', 'but it is paid before that');
select is(pg_temp.status('first'), 'paid', 'money that came in counts');
select is(test.order_commands(pg_temp.id('first')), '{expire_checkout_session done/superseded}', 'there is nothing to end any more');
select is(test.order_commands(pg_temp.id('third')), '{expire_checkout_session pending}', 'nobody shall pay the newest one as well');
select is((select count(*) from booking.alerts where kind = 'order_paid_twice' and subject = any (select id::text from t where n in ('first', 'second', 'third'))), 0::bigint, 'one payment is no alert');
select is(pg_temp.said('third', 'completed'), 'processed', 'it is paid all the same');
select is(pg_temp.status('third'), 'paid', 'and counts');
select results_eq($$ select subject, detail -> 'other_orders' from booking.alerts where kind = 'order_paid_twice' and subject = pg_temp.id('third')::text $$,
  $$ select pg_temp.id('third')::text, jsonb_build_array(pg_temp.id('first')) $$, 'paid twice: a person is told which');
insert into t select 'later', test.open_order('anna', id) from p;
select is(pg_temp.said('later', 'completed'), 'processed', 'a purchase after that');
select is(test.open_alerts(pg_temp.id('later')::text), '{}', 'is another one');

-- -- answers to calls: the object's own status speaks
select pg_temp.open(n) from unnest(array['answer-open', 'answer-expired', 'answer-paid', 'answer-unpaid']) n;
select ok(booking.apply_checkout_session(test.checkout_session(pg_temp.id('answer-open'), 'open'), null), 'open');
select ok(booking.apply_checkout_session(test.checkout_session(pg_temp.id('answer-expired'), 'expired') - 'metadata', null), 'expired');
select ok(booking.apply_checkout_session(test.checkout_session(pg_temp.id('answer-paid')), null), 'complete and paid');
select ok(booking.apply_checkout_session(test.checkout_session(pg_temp.id('answer-unpaid'), 'complete', 'unpaid'), null), 'complete and not paid');
select results_eq($$ select n, pg_temp.status(n) from t where n like 'answer-%' order by 1 $$,
  $$ values ('answer-expired', 'expired'), ('answer-open', 'pending'), ('answer-paid', 'paid'), ('answer-unpaid', 'pending') $$, 'each as it is');
select is(booking.apply_checkout_session('{"id": "cs_nobody"}', null), false, 'not ours');

-- -- an object that contradicts our books is not swallowed
select pg_temp.open(n) from unnest(array['double']) n;
select is(pg_temp.said('double', 'completed', jsonb_build_object('payment_intent', 'pi_' || replace(pg_temp.id('paid')::text, '-', ''))), 'failed', 'another order''s PaymentIntent');
select is(pg_temp.status('double'), 'pending', 'changes nothing');
select is_empty('select * from booking.check_invariants()', 'the books are in order');
select * from finish();
