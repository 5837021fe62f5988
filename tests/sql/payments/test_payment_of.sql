-- booking.payment_of(): by the PaymentIntent, else by metadata.payment_id, else what the caller says.
select plan(11);
create temp table t as select test.book() as b, test.book() as other;
do $$ begin perform test.prepare(b), test.prepare(other) from t; end $$;
create temp table p as
select (test.payment(b)).id as id, test.intent_id(b) as pi, (test.payment(other)).id as other_id, test.intent(b) as intent,
  test.charge(b) as charge, test.refund(b, 10) as refund from t;

select is(f::text, row ('payment_intent', pi, id)::text, 'a PaymentIntent, by its id')
from p, booking.payment_of(intent, 'payment_intent.succeeded') f;
select is(f::text, row ('payment_intent', pi, id)::text, 'without an event, by its own word') from p, booking.payment_of(intent, null) f;
select is(f::text, row ('charge', pi, id)::text, 'a charge') from p, booking.payment_of(charge, 'charge.captured') f;
select is(f::text, row ('refund', pi, id)::text, 'a refund') from p, booking.payment_of(refund, 'refund.updated') f;
select is(f::text, row ('charge', pi, id)::text, 'its charge stands in charge.refunded') from p, booking.payment_of(charge, 'charge.refunded') f;
select is(f::text, row ('dispute', pi, id)::text, 'a dispute, whatever else is in it')
from p, booking.payment_of(jsonb_build_object('object', 'dispute', 'id', 'dp_1', 'payment_intent', intent), 'charge.dispute.created') f;
select is(f::text, row ('payment_intent', 'pi_unknown', id)::text, 'a PaymentIntent that is not recorded, by the metadata')
from p, booking.payment_of(intent || '{"id": "pi_unknown"}', null) f;
select is(f::text, row ('payment_intent', pi, id)::text, 'the PaymentIntent counts more than the metadata')
from p, booking.payment_of(intent || jsonb_build_object('metadata', jsonb_build_object('payment_id', other_id)), null) f;
select is(f::text, row ('refund', 'pi_unknown', other_id)::text, 'else what the caller says')
from p, booking.payment_of('{"object": "refund", "id": "re_1"}', null, other_id, 'pi_unknown') f;
select is(f::text, row ('refund', null::text, null::uuid)::text, 'nobody''s object')
from booking.payment_of('{"object": "refund", "id": "re_1"}', null) f;
select is(f::text, row ('payment_intent', 'pi_x', null::uuid)::text, 'the metadata of another system')
from booking.payment_of('{"object": "payment_intent", "id": "pi_x", "metadata": {"payment_id": "order 7"}}', null) f;
select * from finish();
