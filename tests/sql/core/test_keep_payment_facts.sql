-- booking.keep_payment_facts(): what a payment is for, its PaymentIntent and what was captured are never taken back, whoever
-- updates the row.
select * from no_plan();

create temp table p as select test.a_payment('captured') as captured, test.a_payment('pending') as pending;
select test.refused(format('update booking.payments set %s where id = %L', change, captured), 'PT409', 'append_only',
  jsonb_build_object('table', 'payments', 'payment_id', captured), 'a fact stays: ' || change)
from p, unnest(array['id = gen_random_uuid()', 'booking_id = gen_random_uuid()', 'amount = 2000', 'currency = ''eur''',
  'amount_captured = 999']) change;

select lives_ok(format('update booking.payments set stripe_payment_intent_id = %L where id = %L', 'pi_1', pending), 'a PaymentIntent is recorded once') from p;
select test.refused(format('update booking.payments set stripe_payment_intent_id = %s where id = %L', value, pending), 'PT409', 'append_only',
  jsonb_build_object('payment_id', pending), 'it never becomes ' || value) from p, unnest(array['null', '''pi_2''']) value;
select throws_ok(format('update booking.payments set stripe_payment_intent_id = %L where id = %L', 'pi_1', captured), '23505', null,
  'two payments never share a PaymentIntent') from p;

select lives_ok(format('update booking.payments set amount = amount, booking_id = booking_id, amount_captured = amount_captured, capture_before = now()
  where id = %L', captured), 'the same again is no change') from p;
select is((select array_agg(a.attname::text order by a.attname) from pg_trigger t join pg_attribute a on a.attrelid = t.tgrelid and a.attnum = any (t.tgattr)
           where t.tgname = 'keep_payment_facts'),
  array['amount', 'amount_captured', 'booking_id', 'currency', 'id', 'stripe_payment_intent_id'], 'whoever sets one of them is looked at');

-- a payment moves on only from a lapsed hold to the live booking that seated its student again
create function pg_temp.moving(p_old text default null, p_new text default null) returns text language plpgsql as $$
declare
  v_payment uuid := test.a_payment('captured');
  v_old uuid := (select booking_id from booking.payments where id = v_payment);
  v_new booking.bookings;
begin
  update booking.bookings set confirmation = 'instant' where id = v_old;
  update booking.bookings set status = 'cancelled', cancelled_by = 'system', cancellation_reason = 'expired', refund_percent = 100, closed_at = now() where id = v_old;
  select b.* into v_new from booking.bookings b where b.id = v_old;
  insert into booking.bookings (id, slot_id, session_id, student_id, expert_id, payment_id, seat_part, confirmation, currency, amount, scheduled_at, ends_at)
  values (gen_random_uuid(), v_new.slot_id, v_new.session_id, v_new.student_id, v_new.expert_id, v_new.payment_id, 0, 'instant', 'usd', 1000, now(), now())
  returning id into v_new.id;
  set session_replication_role = replica; -- what no function does
  execute format('update booking.bookings set %s where id = %L', coalesce(p_old, 'id = id'), v_old);
  execute format('update booking.bookings set %s where id = %L', coalesce(p_new, 'id = id'), v_new.id);
  set session_replication_role = origin;
  return format('update booking.payments set booking_id = %L where id = %L', v_new.id, v_payment);
end
$$;
select lives_ok(pg_temp.moving(), 'from a lapsed hold to the live booking of the same student');
select lives_ok(pg_temp.moving(p_new => 'status = ''confirmed'''), 'also when that is confirmed');
select test.refused(pg_temp.moving(p_new => change), 'PT409', 'append_only', '{"table": "payments"}', 'not to one with another ' || change)
from unnest(array['student_id = ''another''', 'slot_id = gen_random_uuid()', 'payment_id = gen_random_uuid()', 'amount = 999', 'currency = ''eur''', 'status = ''cancelled''',
  'status = ''completed''']) change;
select test.refused(pg_temp.moving(p_old => change), 'PT409', 'append_only', '{"table": "payments"}', 'not from one with ' || change)
from unnest(array['status = ''pending'', slot_id = gen_random_uuid()', 'status = ''confirmed'', slot_id = gen_random_uuid()', 'cancelled_by = ''student''',
  'cancellation_reason = ''payment_cancelled''', 'confirmation = ''expert''']) change;
select * from finish();
