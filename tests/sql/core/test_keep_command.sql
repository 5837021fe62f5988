-- booking.keep_command(): what belongs together in a Stripe command stays together, whoever writes; updated_at is the database's.
select * from no_plan();
select test.set_clock('2026-03-10 12:00Z');
create temp table c as select gen_random_uuid() as id;
create temp table cases (what text, operation text, status text, outcome text, locked_by text, lease_until text, payment_id uuid, order_id uuid, is_legal boolean);
insert into cases
select what, coalesce(operation, 'create_refund'), status, outcome, locked_by, lease_until,
  case when subject in ('payment', 'both') then gen_random_uuid() end, case when subject in ('order', 'both') then gen_random_uuid() end, is_legal
from (values
  ('a pending one', 'create_refund', 'pending', null, null, null, 'payment', true),
  ('a capture', 'capture_payment_intent', 'pending', null, null, null, 'payment', true),
  ('a release', 'cancel_payment_intent', 'pending', null, null, null, 'payment', true),
  ('the end of a session', 'expire_checkout_session', 'pending', null, null, null, 'order', true),
  ('a running one', null, 'running', null, 'w', '2031-01-01', 'payment', true),
  ('a done one', null, 'done', 'applied', null, null, 'payment', true),
  ('a dead one', null, 'dead', null, null, null, 'payment', true),
  ('another operation', 'pay', 'pending', null, null, null, 'payment', false),
  ('another operation, running', 'pay', 'running', null, 'w', '2031-01-01', 'payment', false),
  ('another operation, done', 'pay', 'done', 'applied', null, null, 'payment', false),
  ('a running one of nothing', null, 'running', null, 'w', '2031-01-01', 'nothing', false),
  ('a running one of a payment and an order', null, 'running', null, 'w', '2031-01-01', 'both', false),
  ('a running one with an outcome', null, 'running', 'applied', 'w', '2031-01-01', 'payment', false),
  ('a done one with a lease', null, 'done', 'applied', 'w', '2031-01-01', 'payment', false),
  ('a running one of an order', 'expire_checkout_session', 'running', null, 'w', '2031-01-01', 'order', true),
  ('a running one without a lease', null, 'running', null, 'w', null, 'payment', false),
  ('a running one of nobody', null, 'running', null, null, '2031-01-01', 'payment', false),
  ('a pending one with a lease', null, 'pending', null, 'w', '2031-01-01', 'payment', false),
  ('a dead one with a lease', null, 'dead', null, 'w', '2031-01-01', 'payment', false),
  ('a done one without an outcome', null, 'done', null, null, null, 'payment', false),
  ('a pending one with an outcome', null, 'pending', 'applied', null, null, 'payment', false),
  ('one of nothing', null, 'pending', null, null, null, 'nothing', false),
  ('one of a payment and an order', null, 'pending', null, null, null, 'both', false))
  v (what, operation, status, outcome, locked_by, lease_until, subject, is_legal);

select is(test.written(format('insert into booking.stripe_commands (id, stripe_id, operation, status, outcome, locked_by, lease_until, payment_id, order_id)
  values (gen_random_uuid(), %L, %L, %L, %L, %L, %L, %L, %L)', 'pi_' || what, operation, status, outcome, locked_by, lease_until, payment_id, order_id)),
  case when is_legal then 'done' else '23514 stripe_commands' end, 'made: ' || what) from cases;
insert into booking.stripe_commands (id, stripe_id, operation, payment_id, created_at, updated_at)
select id, 'pi_1', 'create_refund', gen_random_uuid(), '2020-01-01', '2020-01-01' from c;
select is((select updated_at from booking.stripe_commands s where s.id = c.id), '2020-01-01'::timestamptz, 'a new one has the time that it was given') from c;
select is(test.written(format('update booking.stripe_commands set operation = %L, status = %L, outcome = %L, locked_by = %L, lease_until = %L, payment_id = %L, order_id = %L
  where id = %L', operation, status, outcome, locked_by, lease_until, payment_id, order_id, id)),
  case when is_legal then 'done' else '23514 stripe_commands' end, 'changed: ' || what) from cases, c;
select throws_like(format('update booking.stripe_commands set status = ''done'' where id = %L', id),
  'new row for relation "stripe_commands" violates check constraint%', 'it says so as a check constraint would') from c;
update booking.stripe_commands set attempts = 1, updated_at = '2000-01-01' where id = (select id from c);
select is((select updated_at from booking.stripe_commands s where s.id = c.id), '2026-03-10 12:00Z'::timestamptz, 'updated_at is the time of the change') from c;
select * from finish();
