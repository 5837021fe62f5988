-- booking.order_of(): which order a Checkout Session belongs to.
select no_plan();
create temp table o as select test.open_order() as id, test.open_order() as other;
select is(booking.order_of(test.checkout_session(id)), id, 'by metadata.order_id') from o;
select is(booking.order_of(test.checkout_session(id) - 'metadata'), id, 'else by the session''s id') from o;
select is(booking.order_of(test.checkout_session(id) || jsonb_build_object('id', test.session_id(other))), id, 'the metadata are believed first') from o;
select is(booking.order_of(test.checkout_session(id) || jsonb_build_object('metadata', jsonb_build_object('order_id', m))), id, 'somebody else''s metadata: ' || m)
from o, unnest(array['17', gen_random_uuid()::text, '']) m;
select is(booking.order_of('{"id": "cs_nobody", "metadata": {"order_id": "17"}}'), null, 'none of ours');
select is(booking.order_of('{"id": "cs_nobody", "metadata": null}'), null, 'without metadata');
select * from finish();
