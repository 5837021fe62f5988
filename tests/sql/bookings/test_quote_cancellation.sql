-- booking.quote_cancellation(): what cancelling now would give, without doing it.
select * from no_plan();
select test.set_clock('2026-03-10 12:00Z');
create temp table b as select test.captured_booking('10 days', 5001) as id;
create function pg_temp.quote(p_actor text) returns text language sql as $$
  select q.refund_percent || ' % ' || q.refund_amount || ' ' || q.currency
  from b, booking.quote_cancellation(case p_actor when 'student' then test.student(id) else test.expert(id) end, id) q
$$;
create temp table days as select n, at, student from (values
  (1, '2026-03-19 12:00Z'::timestamptz, '100 % 5001 usd'), (2, '2026-03-19 12:00:00.000001Z', '50 % 2501 usd'),
  (3, '2026-03-20 10:00Z', '50 % 2501 usd'), (4, '2026-03-20 10:00:00.000001Z', '0 % 0 usd'), (5, '2026-03-20 13:00Z', '0 % 0 usd')) v (n, at, student);
create function pg_temp.quote_at(p_at timestamptz, p_actor text) returns text language plpgsql as $$
begin
  perform test.set_clock(p_at);
  return pg_temp.quote(p_actor);
end
$$;
select is(pg_temp.quote_at(at, 'student'), student, 'the student at ' || at) from days;
select is(pg_temp.quote_at(at, 'expert'), '100 % 5001 usd', 'the expert at ' || at) from days;
select is(test.state(id), 'confirmed/captured', 'nothing has changed') from b;
select is((select count(*) from booking.stripe_commands where operation <> 'capture_payment_intent'), 0::bigint, 'nothing was queued');
select test.set_clock('2026-03-20 09:00Z');
begin read only;
select is(pg_temp.quote('student'), '50 % 2501 usd', 'it works where nothing may be written');
commit;

-- what is quoted is what is given
create temp table g as select what, test.book(test.make_slot('10 hours')) as id
  from unnest(array['unpaid', 'authorized', 'confirmed', 'captured', 'partially refunded']) what;
do $$ begin
  perform test.authorize(id) from g where what <> 'unpaid';
  perform test.confirm(id) from g where what not in ('unpaid', 'authorized');
  perform test.run_commands(id) from g where what in ('captured', 'partially refunded');
  perform test.event('refund.created', test.refund(id, 700)) from g where what = 'partially refunded';
end $$;
create temp table quoted as select what, who, q.* from g, unnest(array['student', 'expert']) who,
  lateral booking.quote_cancellation(case who when 'student' then test.student(id) else test.expert(id) end, id) q;
select results_eq($$ select what, who, refund_percent, refund_amount from quoted order by 1, 2 $$, $$ values
  ('authorized', 'expert', 100, 0::bigint), ('authorized', 'student', 100, 0), ('captured', 'expert', 100, 5000), ('captured', 'student', 50, 2500),
  ('confirmed', 'expert', 100, 5000), ('confirmed', 'student', 50, 2500), ('partially refunded', 'expert', 100, 4300), ('partially refunded', 'student', 50, 1800),
  ('unpaid', 'expert', 100, 0), ('unpaid', 'student', 100, 0) $$, 'quotes along a payment''s way, for either side');
create temp table done as select what, c.refund_percent, c.refund_amount from g, booking.cancel_booking_transaction(test.student(id), id) c;
select results_eq('select what, refund_percent, refund_amount from done order by 1',
  $$ select what, refund_percent, refund_amount from quoted where who = 'student' order by 1 $$, 'cancelling gives what was quoted');

select test.refused(format('select * from booking.quote_cancellation(%L, %L)', test.student(id), id), 'PT409', 'already_processed',
  jsonb_build_object('booking_id', id, 'status', 'cancelled'), 'after it was cancelled: ' || what) from g;
select test.refused(format('select * from booking.quote_cancellation(%L, %L)', who, id), 'PT403', 'not_your_booking', jsonb_build_object('booking_id', id),
  'for ' || coalesce(who, 'nobody')) from b, unnest(array['somebody', '', null]) who;
select test.refused(format('select * from booking.quote_cancellation(%L, %L)', 'somebody', unknown), 'PT404', 'booking_not_found',
  jsonb_build_object('booking_id', unknown), 'booking ' || coalesce(unknown, 'null')) from unnest(array['00000000-0000-7000-8000-000000000000', null]) unknown;
select * from finish();
