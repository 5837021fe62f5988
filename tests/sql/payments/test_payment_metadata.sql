-- booking.payment_metadata(): ids only, the same each time.
select * from no_plan();
create temp table b as select n, test.book(test.make_slot(p_confirmation => n)) as id from unnest(array['expert', 'instant']) n;
select is(booking.payment_metadata(test.booking(id)), jsonb_build_object('booking_id', id, 'payment_id', (test.booking(id)).payment_id),
  'one to one: the booking and its payment') from b where n = 'expert';
select is(booking.payment_metadata(x), jsonb_build_object('booking_id', b.id, 'payment_id', x.payment_id,
  'class_id', x.slot_id, 'user_id', x.student_id, 'idempotency_key', x.payment_id),
  'a class: also which, whose and the key that was sent') from b, test.booking(id) x where n = 'instant';
select is(booking.payment_metadata(test.booking(id)), p.metadata, 'prepare_payment_intent sends it: ' || n)
from b, booking.prepare_payment_intent(test.student(id), id) p;
select is(p.metadata ->> 'idempotency_key', p.idempotency_key, 'the key in it is the key that is sent')
from b, booking.prepare_payment_intent(test.student(id), id) p where n = 'instant';
create temp table before as select n, booking.payment_metadata(test.booking(id)) as m from b;
do $$ begin perform test.prepare(id) from b; end $$;
do $$ begin perform booking.cancel_booking_transaction(test.student(id), id) from b; end $$;
select is(booking.payment_metadata(test.booking(id)), m, 'it stays: ' || n) from b join before using (n);
select * from finish();
