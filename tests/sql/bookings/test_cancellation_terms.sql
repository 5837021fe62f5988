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
select * from finish();
