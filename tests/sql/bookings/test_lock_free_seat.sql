-- booking.lock_free_seat(): a counter with a free seat is locked for a lapsed hold, and for nothing else.
-- Whether it waits, and for whom, is shown by tests/py/races/test_reseat.py.
select * from no_plan();
create temp table b as select n, test.hold_seat(test.make_class(40)) as id
from unnest(array['lapsed', 'pending', 'paid', 'begun', 'full', 'cancelled at Stripe', 'refunded']) n;
do $$ begin
  perform test.event('payment_intent.succeeded', test.intent(id, 'succeeded')) from b where n = 'paid';
  perform test.lapse(id) from b where n in ('lapsed', 'begun', 'full', 'cancelled at Stripe', 'refunded');
  perform test.run_commands(id) from b where n = 'cancelled at Stripe';
  update booking.slot_seats q set taken = capacity from b where n in ('full', 'refunded') and q.slot_id = (test.booking(id)).slot_id;
  perform test.event('payment_intent.succeeded', test.intent(id, 'succeeded')) from b where n = 'refunded';
  update booking.slot_seats q set taken = 0 from b where n = 'refunded' and q.slot_id = (test.booking(id)).slot_id;
  update booking.bookings set scheduled_at = booking.clock() where id = (select id from b where n = 'begun');
end $$;
-- a counter that this transaction has locked shows the transaction's id in xmax
commit;
begin;
create temp table written as select q.slot_id, q.part, q.xmax::text as by from booking.slot_seats q;
create function pg_temp.locked(p_booking uuid) returns bigint language sql as $$
  
  select count(*) from booking.slot_seats q where q.slot_id = (test.booking(p_booking)).slot_id
    and q.xmax::text <> (select w.by from written w where w.slot_id = q.slot_id and w.part = q.part) $$;
do $$ begin perform booking.lock_free_seat((test.payment(id)).id) from b; end $$;
select is(pg_temp.locked(id), case n when 'lapsed' then 1 else 0 end::bigint, n) from b order by n;
select lives_ok('select booking.lock_free_seat(gen_random_uuid())', 'no such payment');
select lives_ok('select booking.lock_free_seat(null)', 'no payment');
select * from finish();
