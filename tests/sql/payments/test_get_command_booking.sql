-- booking.get_command_booking(): where the booking of a Stripe command stands, also within the statement that records.
select plan(6);
create temp table t as select test.book() as b;
do $$ begin perform test.authorize(b) from t; end $$;
create temp table c as select b, test.confirm(b) as id from t;
grant select on c to booking_app;
create temp table answer as select test.answer(id) as told from c;
grant select on answer to booking_app;
set local role booking_app;
select results_eq($$ select k.* from c, booking.get_command_booking(p_command_id => c.id) k $$,
  $$ select b, 'confirmed'::booking.booking_status, 'authorized'::booking.payment_status from c $$, 'before Stripe was told');
do $$ begin perform booking.claim_stripe_command(id, 'w') from c; end $$;
select results_eq($$ select done, k.status, k.payment_status from c, answer, booking.complete_stripe_command(c.id, 'w', told) done
    left join lateral booking.get_command_booking(case when done is not null then c.id end) k on true $$,
  $$ values (true, 'confirmed'::booking.booking_status, 'captured'::booking.payment_status) $$, 'what the same statement has recorded is seen');
select is_empty($$ select * from booking.get_command_booking('01890000-0000-7000-8000-000000000001') $$, 'no such command: no row');
select is_empty($$ select * from booking.get_command_booking(null) $$, 'no id: no row');
reset role;
create temp table o as select test.open_order() as id;
do $$ begin perform booking.queue_session_expiry(id) from o; end $$;
select is((select count(*)::int from booking.stripe_commands c join o on c.order_id = o.id), 1, 'an order has a command');
select is_empty($$ select k.* from booking.stripe_commands c join o on c.order_id = o.id, booking.get_command_booking(c.id) k $$,
  'which is no booking''s');
select * from finish();
