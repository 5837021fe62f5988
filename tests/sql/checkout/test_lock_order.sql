-- booking.lock_order(): locks an order with those that superseded it.
select plan(2);
create temp table o as select test.open_order() as id;
select is((booking.lock_order(id)).id, id, 'the order') from o;
select is((booking.lock_order(gen_random_uuid())).id, null, 'none');
select * from finish();
