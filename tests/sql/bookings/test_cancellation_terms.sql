-- booking.cancellation_terms(): the refund rule, at any moment.
select * from no_plan();
select test.set_clock('2026-03-10 12:00Z');
create temp table g as select what, test.book(test.make_slot('48 hours')) as id
  from unnest(array['nothing', 'authorized', 'confirmed', 'captured', 'unasked']) what;
do $$ begin
  perform test.authorize(id) from g where what in ('authorized', 'confirmed', 'captured');
  perform test.confirm(id) from g where what in ('confirmed', 'captured');
  perform test.run_commands(id) from g where what = 'captured';
  perform test.prepare(id), test.event('payment_intent.succeeded', test.intent(id, 'succeeded')) from g where what = 'unasked';
end $$;
create temp table expected (what text, at timestamptz, percent int, amount bigint);
insert into expected
select what, at, case when what in ('nothing', 'authorized') then 100 else percent end, case when what in ('nothing', 'authorized') then 0 else 50 * percent end
from g, (values ('2026-03-11 12:00Z'::timestamptz, 100), ('2026-03-11 12:00:00.000001Z', 50), ('2026-03-12 10:00Z', 50),
  ('2026-03-12 10:00:00.000001Z', 0), ('2026-03-12 12:00Z', 0)) v (at, percent);
select results_eq(format('select refund_percent, refund_amount from booking.cancellation_terms(test.booking(%L), false, %L)', id, at),
  format('values (%s, %s::bigint)', percent, amount), format('the student, %s, at %s', what, at)) from g join expected using (what);
select results_eq(format('select refund_percent, refund_amount from booking.cancellation_terms(test.booking(%L), true, %L)', id, at),
  format('values (100, %s::bigint)', case when what in ('nothing', 'authorized') then 0 else 5000 end), format('the expert, %s, at %s', what, at))
from g join expected using (what);
-- the queued refund of an earlier decision counts
update booking.refund_policies set percent = 100;
do $$ begin perform booking.queue_stripe_command((test.payment(id)).id, 'create_refund', test.intent_id(id), 4000) from g where what = 'captured'; end $$;
select results_eq(format('select refund_amount from booking.cancellation_terms(test.booking(%L), false, %L)', id, '2026-03-10 12:00Z'), 'values (1000::bigint)',
  'a refund on its way counts towards it') from g where what = 'captured';
-- refund requests: what is approved counts, whether it is sent or still waits; what is only asked for does not
create temp table r as select test.captured_booking('48 hours') as id;
create function pg_temp.gives() returns bigint language sql as $$
  select t.refund_amount from r, booking.cancellation_terms(test.booking(r.id), false, '2026-03-10 12:00Z') t $$;
create temp table rq as select n, test.ask(id, n) as q from r, unnest(array[700, 1100, 1300]) n;
select is(pg_temp.gives(), 5000::bigint, 'asked for: nothing has left');
do $$ begin perform test.approve(q) from rq where n = 700; end $$;
select is(pg_temp.gives(), 4300::bigint, 'approved: its refund is on its way');
do $$ begin perform test.approve(q) from rq where n = 1100; end $$;
select is(pg_temp.gives(), 3200::bigint, 'approved, and its refund waits for the other one');
do $$ begin perform test.run_commands(id) from r; end $$;
select is(pg_temp.gives(), 3200::bigint, 'refunded');
do $$ begin perform test.fail_refund((test.request(q)).command_id) from rq where n = 700; end $$;
select is(pg_temp.gives(), 3200::bigint, 'what failed is decided by a person, not given by cancelling');
do $$ begin perform test.approve(q, 'reject') from rq where n = 1300; end $$;
select is(pg_temp.gives(), 3200::bigint, 'rejected');
select * from finish();
