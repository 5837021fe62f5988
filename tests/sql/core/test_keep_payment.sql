-- booking.keep_payment(): a payment moves only along the edges of its transition table and its amounts belong together,
-- whoever writes the row.
select * from no_plan();

create function pg_temp.moved(p_from text, p_to text, p_legal boolean) returns text language plpgsql as $$
declare
  v_id uuid := test.a_payment(p_from, 'pi_' || gen_random_uuid());
  v_update text := format($sql$
    update booking.payments set status = %2$L,
      amount_captured = greatest(amount_captured, case when %2$L in ('captured', 'partially_refunded', 'refunded') then 1000 else 0 end),
      amount_refunded = case %2$L when 'partially_refunded' then 400 when 'refunded' then 1000 else 0 end
    where id = %1$L $sql$, v_id, p_to);
begin
  execute 'set local role booking_owner';
  if p_legal then
    execute v_update;
    execute 'reset role';
    return is((select status::text from booking.payments where id = v_id), p_to, format('%s -> %s', p_from, p_to));
  end if;
  begin
    execute v_update;
  exception when sqlstate 'PT409' then
    execute 'reset role';
    return is(sqlerrm, 'illegal_transition', format('%s -> %s is refused', p_from, p_to));
  end;
  execute 'reset role';
  return fail(format('%s -> %s is refused', p_from, p_to));
end
$$;

create temp table edges (from_status text, to_statuses text[]);
insert into edges values
  ('pending', '{requires_action, processing, failed, authorized, captured, cancelled}'),
  ('requires_action', '{pending, processing, failed, authorized, captured, cancelled}'),
  ('processing', '{pending, requires_action, failed, authorized, captured, cancelled}'),
  ('failed', '{pending, requires_action, processing, authorized, captured, cancelled}'),
  ('authorized', '{captured, cancelled, failed}'),
  ('captured', '{partially_refunded, refunded}'),
  ('partially_refunded', '{captured, refunded}'),
  ('refunded', '{captured, partially_refunded}'),
  ('cancelled', '{}');
select pg_temp.moved(f::text, t::text, f = t or t::text = any (e.to_statuses))
from unnest(enum_range(null::booking.payment_status)) f, unnest(enum_range(null::booking.payment_status)) t, edges e
where e.from_status = f::text;
select is((select count(*) from edges), (select count(*) from unnest(enum_range(null::booking.payment_status))), 'every status was looked at');

create temp table p as select test.a_payment('cancelled') as cancelled, test.a_payment('captured') as captured;
select test.refused(format('update booking.payments set status = %L where id = %L', 'authorized', cancelled), 'PT409', 'illegal_transition',
  jsonb_build_object('payment_id', cancelled, 'from', 'cancelled', 'to', 'authorized'), 'DETAIL says which payment and which step') from p;
select test.set_clock('2031-01-01 00:00Z');
update booking.payments set stripe_charge_id = 'ch_1', updated_at = '2000-01-01' where id = (select captured from p);
select is((select updated_at from booking.payments where id = captured), '2031-01-01 00:00Z'::timestamptz, 'updated_at is the time of the change') from p;
with b as (
  insert into booking.bookings (id, slot_id, session_id, student_id, expert_id, payment_id, seat_part, confirmation, currency, amount, scheduled_at, ends_at)
  values (gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), 'new', 'expert', gen_random_uuid(), 0, 'expert', 'usd', 1000, now(), now())
  returning id)
insert into booking.payments (id, booking_id, amount, currency, updated_at) select '01890000-0000-7000-8000-000000000001', id, 1000, 'usd', '2020-01-01' from b;
select is((select updated_at from booking.payments where id = '01890000-0000-7000-8000-000000000001'), '2020-01-01'::timestamptz,
  'a new one has the time that it was given');

-- amounts: refunded <= captured <= authorized, captured where the status says so
create function pg_temp.booking_without_payment(p_student text) returns uuid language sql as $$
  insert into booking.bookings (id, slot_id, session_id, student_id, expert_id, payment_id, seat_part, confirmation, currency,
    amount, scheduled_at, ends_at)
  values (gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), p_student, 'expert', gen_random_uuid(), 0, 'expert', 'usd', 1000,
    now(), now())
  returning id
$$;

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
  ('a held one with all of the money', 1000, 'authorized', 1000, 0, 'pi', false),
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
  ('a held one of nothing', 0, 'authorized', 0, 0, 'pi', false),
  ('a captured one of nothing', 0, 'captured', 0, 0, 'pi', false),
  ('a captured one with an empty PaymentIntent', 1000, 'captured', 1000, 0, '', false),
  ('a held one with an empty PaymentIntent', 1000, 'authorized', 0, 0, '', false),
  ('one with a PaymentIntent of 256 characters', 1000, 'pending', 0, 0, repeat('x', 256), false);

select is(test.written(format('insert into booking.payments (id, booking_id, amount, currency, status, amount_captured, amount_refunded, stripe_payment_intent_id)
    values (gen_random_uuid(), %L, %s, ''usd'', %L, %s, %s, %L)', pg_temp.booking_without_payment(c.what), c.amount, c.status, c.captured,
    c.refunded, c.intent)),
  case when c.is_legal then 'done' else '23514 payments' end, 'made: ' || c.what) from cases c;
select is(test.written(format('update booking.payments set amount = %s, status = %L, amount_captured = %s, amount_refunded = %s, stripe_payment_intent_id = %L
    where id = %L', c.amount, c.status, c.captured, c.refunded, c.intent, test.a_payment(f.status))),
  case when c.is_legal then 'done' else '23514 payments' end, format('changed from %s: %s', f.status, c.what))
from (values ('pending'), ('authorized')) f (status) join edges e on e.from_status = f.status
join cases c on c.status = f.status or c.status = any (e.to_statuses);
select is(test.written(format('update booking.payments set amount = %s, status = %L, amount_captured = %s, amount_refunded = %s
    where id = %L', c.amount, c.status, c.captured, c.refunded, test.a_payment(f.status, 'pi_' || gen_random_uuid()))),
  case when c.is_legal then 'done' else '23514 payments' end, format('changed from %s, with its PaymentIntent: %s', f.status, c.what))
from (values ('pending'), ('authorized')) f (status) join edges e on e.from_status = f.status
join cases c on c.status = f.status or c.status = any (e.to_statuses) where c.intent = 'pi';
select is(test.written(format('update booking.payments set %s where id = %L', change, id)), '23514 payments', 'refused by the table: ' || change)
from (select test.a_payment('captured') as captured, test.a_payment('pending') as pending) p,
  lateral (values (captured, 'amount_refunded = 1001'), (captured, 'amount_refunded = -1'), (captured, 'amount_captured = 1001'),
  (pending, 'amount_captured = 1'), (pending, 'status = ''captured''')) v (id, change);
select throws_ok(format('update booking.payments set amount_captured = 1 where id = %L', pending), '23514',
  'new row for relation "payments" violates check constraint "payments_check"', 'it says so as a check constraint would')
from (select test.a_payment('pending') as pending) p;

select * from finish();
