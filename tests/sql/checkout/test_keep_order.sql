-- booking.keep_order(): an order moves only along the edges of its transition table, whoever updates the row.
select no_plan();
create function pg_temp.an_order(p_status text) returns uuid language sql as $$
  insert into booking.orders (id, product_id, user_id, amount, currency, status, paid_at, closed_at)
  values (gen_random_uuid(), 'p', 'u', 100, 'eur', p_status::booking.order_status, case p_status when 'paid' then now() end,
    case when p_status <> 'pending' then now() end) returning id
$$;
create function pg_temp.moved(p_from text, p_to text, p_legal boolean) returns text language plpgsql as $$
declare
  v_id uuid := pg_temp.an_order(p_from);
begin
  begin
    execute 'set local role booking_owner';
    update booking.orders set status = p_to::booking.order_status, closed_at = now(), paid_at = case p_to when 'paid' then now() end where id = v_id;
    execute 'reset role';
  exception when sqlstate 'PT409' then
    execute 'reset role';
    return is(sqlerrm || p_legal, 'illegal_transitionfalse', format('%s -> %s is refused', p_from, p_to));
  end;
  return ok(p_legal, format('%s -> %s', p_from, p_to));
end
$$;
create temp table edges (from_status text, to_statuses text[]);
insert into edges values ('pending', '{expired, failed, paid}'), ('expired', '{failed, paid}'), ('failed', '{paid}'), ('paid', '{}');
select pg_temp.moved(f::text, t::text, f = t or t::text = any (e.to_statuses))
from unnest(enum_range(null::booking.order_status)) f, unnest(enum_range(null::booking.order_status)) t, edges e where e.from_status = f::text;
select is((select count(*) from edges), (select count(*) from unnest(enum_range(null::booking.order_status))), 'every status was looked at');

create temp table o as select pg_temp.an_order('paid') as paid, pg_temp.an_order('pending') as pending, pg_temp.an_order('pending') as other;
select test.refused(format('update booking.orders set status = %L where id = %L', 'failed', paid), 'PT409', 'illegal_transition',
  jsonb_build_object('order_id', paid, 'from', 'paid', 'to', 'failed'), 'DETAIL says which order and which step') from o;
select test.refused(format('update booking.orders set %s where id = %L', change, pending), 'PT409', 'append_only',
  jsonb_build_object('table', 'orders', 'order_id', pending), 'a fact stays: ' || change)
from o, unnest(array['id = gen_random_uuid()', 'product_id = ''q''', 'user_id = ''v''', 'amount = 101', 'currency = ''usd''']) change;
select lives_ok(format('update booking.orders set stripe_session_id = ''cs_1'', stripe_payment_intent_id = ''pi_1'', superseded_by = %L where id = %L', other, pending),
  'session, PaymentIntent and successor are recorded once') from o;
select test.refused(format('update booking.orders set %s where id = %L', change, pending), 'PT409', 'append_only', jsonb_build_object('order_id', pending), 'then it never becomes ' || change)
from o, unnest(array['stripe_session_id = null', 'stripe_session_id = ''cs_2''', 'stripe_payment_intent_id = null', 'stripe_payment_intent_id = ''pi_2''', 'superseded_by = null']) change;
select throws_ok(format('update booking.orders set %s where id = %L', change, other), '23505', null, 'two orders never share it: ' || change)
from o, unnest(array['stripe_session_id = ''cs_1''', 'stripe_payment_intent_id = ''pi_1''']) change;
select throws_ok(format('update booking.orders set %s where id = %L', change, id), '23514', null, 'refused by the table: ' || change)
from o, lateral (values (pending, 'paid_at = now()'), (paid, 'paid_at = null'), (paid, 'closed_at = null'), (pending, 'status = ''failed''')) v (id, change);
select test.set_clock('2031-01-01 00:00Z');
update booking.orders set checkout_url = 'https://x', updated_at = '2000-01-01' where id = (select pending from o);
select is((select updated_at from booking.orders where id = pending), '2031-01-01 00:00Z'::timestamptz, 'updated_at is the time of the change') from o;
select * from finish();
