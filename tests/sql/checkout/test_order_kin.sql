-- booking.order_kin(): the orders that superseded one another.
select no_plan();
select test.set_clock('2026-03-10 12:00Z');
create temp table p as select test.make_product() as id;
create temp table a as select test.open_order('anna', id) as id from p;
create temp table b as select test.open_order('anna', id) as id from p;
create temp table c as select test.open_order('anna', id) as id from p;
create temp table x as select test.open_order('berta', id) as id from p;
select is(booking.order_kin(k.id), (select array_agg(y.id order by y.id) from (select id from a union select id from b union select id from c) y), n || ' knows all three')
from (select 'the first' as n, id from a union all select 'the second', id from b union all select 'the third', id from c) k;
select is(booking.order_kin(id), array[id], 'another user''s is alone') from x;
do $$ begin perform test.event('checkout.session.completed', test.checkout_session(id)) from c; end $$;
create temp table d as select test.open_order('anna', id) as id from p;
select is(booking.order_kin(id), array[id], 'a purchase after a paid one is a new one, though older ones still wait to be ended') from d;
select is(booking.order_kin(gen_random_uuid()), null, 'no such order');
select * from finish();
