-- booking.keep_booking_facts(): what a booking was made with never changes, whoever updates the row.
select * from no_plan();
create temp table b as select test.book() as id;
select test.refused(format('update booking.bookings set %s where id = %L', change, id), 'PT409', 'append_only',
  jsonb_build_object('table', 'bookings', 'booking_id', id), 'a fact of creation stays: ' || change)
from b, unnest(array['id = gen_random_uuid()', 'slot_id = gen_random_uuid()', 'seat_part = 1', 'student_id = ''other''',
  'expert_id = ''other''', 'payment_id = gen_random_uuid()', 'amount = 999', 'currency = ''eur''']) change;

select test.refused(format('insert into booking.bookings select (b).* from (select test.booking(%1$L) as b) x on conflict (id) do update set amount = 999', id),
  'PT409', 'append_only', jsonb_build_object('table', 'bookings', 'booking_id', id), 'not by an insert that meets it either') from b;
select lives_ok(format('update booking.bookings set slot_id = slot_id, amount = amount, details = ''{"note": "x"}'' where id = %L', id),
  'the same again is no change') from b;
select is((select count(*) from pg_trigger t join pg_attribute a on a.attrelid = t.tgrelid and a.attnum = any (t.tgattr)
           where t.tgname = 'keep_booking_facts' and a.attname in ('id', 'slot_id', 'seat_part', 'student_id', 'expert_id', 'payment_id', 'amount', 'currency')),
  8::bigint, 'whoever sets one of them is looked at');
select * from finish();
