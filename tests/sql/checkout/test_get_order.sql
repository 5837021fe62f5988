-- booking.get_order(): one order, for the user who bought.
select plan(5);
select test.set_clock('2026-03-10 12:00Z');
create temp table o as select test.open_order('anna', test.make_product()) as id;
create temp table wanted as select id, product_id, stripe_session_id, checkout_url from o join booking.orders using (id);
grant select on o, wanted to booking_app;
grant usage on schema test to booking_app;
set local role booking_app;
select results_eq($$ select g.order_id, g.product_id, g.user_id, g.status::text, g.amount, g.currency, g.stripe_session_id, g.checkout_url, g.paid_at, g.created_at
    from o, booking.get_order('anna', id) g $$,
  $$ select id, product_id, 'anna', 'pending', 1900::bigint, 'eur', stripe_session_id, checkout_url, null::timestamptz, '2026-03-10 12:00Z'::timestamptz from wanted $$,
  'where it stands and where it is paid');
select test.refused(format('select * from booking.get_order(%L, %L)', 'berta', id), 'PT403', 'not_your_order', jsonb_build_object('order_id', id), 'somebody else''s') from o;
select test.refused(format('select * from booking.get_order(null, %L)', id), 'PT403', 'not_your_order', jsonb_build_object('order_id', id), 'nobody''s') from o;
select test.refused($$ select * from booking.get_order('anna', '01890000-0000-7000-8000-000000000001') $$, 'PT404', 'order_not_found',
  '{"order_id": "01890000-0000-7000-8000-000000000001"}', 'no such order');
reset role;
do $$ begin perform test.event('checkout.session.completed', test.checkout_session(id)) from o; end $$;
select results_eq($$ select g.status::text, g.paid_at, g.stripe_payment_intent_id from o, booking.get_order('anna', id) g $$,
  $$ select 'paid', '2026-03-10 12:00Z'::timestamptz, 'pi_' || replace(id::text, '-', '') from o $$, 'paid, when and by which PaymentIntent');
select * from finish();
