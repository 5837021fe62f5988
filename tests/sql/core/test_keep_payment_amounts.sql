-- booking.keep_payment_amounts(): the amounts of a payment belong together, whoever writes the row.
select * from no_plan();

create function pg_temp.booking_without_payment(p_student text) returns uuid language sql as $$
  insert into booking.bookings (id, slot_id, session_id, student_id, expert_id, payment_id, seat_part, confirmation, currency,
    amount, scheduled_at, ends_at)
  values (gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), p_student, 'expert', gen_random_uuid(), 0, 'expert', 'usd', 1000,
    now(), now())
  returning id
$$;

create temp table p as select test.a_payment('captured') as captured, test.a_payment('pending') as pending;

-- refunded <= captured <= authorized, captured where the status says so; held by the table
create temp table cases (what text, amount bigint, status text, captured bigint, refunded bigint, intent text, is_legal boolean);
insert into cases values
  ('a pending one', 1000, 'pending', 0, 0, 'pi', true),
  ('one without a PaymentIntent', 1000, 'pending', 0, 0, null, true),
  ('a held one', 1000, 'authorized', 0, 0, 'pi', true),
  ('a captured one', 1000, 'captured', 1000, 0, 'pi', true),
  ('one captured in part', 1000, 'captured', 1, 0, 'pi', true),
  ('one refunded in part', 1000, 'partially_refunded', 1000, 1, 'pi', true),
  ('a refunded one', 1000, 'refunded', 1000, 1000, 'pi', true),
  ('a cancelled one', 1000, 'cancelled', 0, 0, 'pi', true),
  ('one of nothing', 0, 'pending', 0, 0, 'pi', false),
  ('one of less than nothing', -1, 'pending', 0, 0, 'pi', false),
  ('a pending one with money', 1000, 'pending', 1, 0, 'pi', false),
  ('a held one with money', 1000, 'authorized', 1, 0, 'pi', false),
  ('a held one that gave money back', 1000, 'authorized', 0, 1, 'pi', false),
  ('a held one that gave back less than nothing', 1000, 'authorized', 0, -1, 'pi', false),
  ('a cancelled one with money', 1000, 'cancelled', 1, 0, 'pi', false),
  ('a captured one without money', 1000, 'captured', 0, 0, 'pi', false),
  ('one captured for less than nothing', 1000, 'captured', -1, -1, 'pi', false),
  ('one captured for more than its price', 1000, 'captured', 1001, 0, 'pi', false),
  ('one that gave back more than it took', 1000, 'refunded', 1000, 1001, 'pi', false),
  ('one that gave back less than nothing', 1000, 'captured', 1000, -1, 'pi', false),
  ('a refunded one without money', 1000, 'refunded', 0, 0, 'pi', false),
  ('one with an empty PaymentIntent', 1000, 'pending', 0, 0, '', false),
  ('a held one with an empty PaymentIntent', 1000, 'authorized', 0, 0, '', false),
  ('one with a PaymentIntent of 256 characters', 1000, 'pending', 0, 0, repeat('x', 256), false);

select is(test.written(format('insert into booking.payments (id, booking_id, amount, currency, status, amount_captured, amount_refunded, stripe_payment_intent_id)
    values (gen_random_uuid(), %L, %s, ''usd'', %L, %s, %s, %L)', pg_temp.booking_without_payment(c.what), c.amount, c.status, c.captured,
    c.refunded, c.intent)),
  case when c.is_legal then 'done' else '23514 payments' end, 'made: ' || c.what) from cases c;
select is(test.written(format('update booking.payments set amount = %s, status = %L, amount_captured = %s, amount_refunded = %s, stripe_payment_intent_id = %L
    where id = %L', c.amount, c.status, c.captured, c.refunded, c.intent, test.a_payment('pending'))),
  case when c.is_legal then 'done' else '23514 payments' end, 'changed: ' || c.what)
from cases c where c.status not in ('partially_refunded', 'refunded');
select is(test.written(format('update booking.payments set %s where id = %L', change, id)), '23514 payments', 'refused by the table: ' || change)
from p, lateral (values (captured, 'amount_refunded = 1001'), (captured, 'amount_refunded = -1'), (captured, 'amount_captured = 1001'),
  (pending, 'amount_captured = 1'), (pending, 'status = ''captured''')) v (id, change);
select throws_ok(format('update booking.payments set amount_captured = 1 where id = %L', pending), '23514',
  'new row for relation "payments" violates check constraint "payments_check"', 'it says so as a check constraint would') from p;

select * from finish();
