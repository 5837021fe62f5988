-- booking.keep_payment(): a payment moves only along the edges of its transition table, whoever writes the row.
select * from no_plan();

create function pg_temp.moved(p_from text, p_to text, p_legal boolean) returns text language plpgsql as $$
declare
  v_id uuid := test.a_payment(p_from);
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

select * from finish();
