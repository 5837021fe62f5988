-- booking.make_invoice(): what a new invoice says, from the settings, the booking and its session.
select * from no_plan();
update booking.settings set seller_name = 'Lessons Ltd', seller_address = E'1 High Street\nLondon', seller_tax_id = 'GB123', tax_name = 'USt', tax_rate = 1900;
create function pg_temp.paid(p_details jsonb) returns uuid language plpgsql as $$
declare v_booking uuid;
begin
  select c.booking_id into v_booking from booking.create_booking_transaction(test.unique('student'),
    test.make_slot(p_session => test.make_session(p_title => 'Cello for beginners')), p_details => p_details) c;
  perform test.capture(v_booking);
  return v_booking;
end
$$;
select test.set_clock('2026-03-10 12:00Z');
set timezone = 'Asia/Tokyo';
create temp table t as select what, pg_temp.paid(details) as b from (values ('plain', '{}'::jsonb),
  ('billing', '{"billing": {"name": "  Zoë Łuczak ", "address": "Rue 1\nParis", "tax_id": "FR1"}}'),
  ('odd', jsonb_build_object('billing', jsonb_build_object('name', repeat('x', 300), 'address', '  ', 'tax_id', repeat('1', 60)))),
  ('no object', '{"billing": "me"}')) v (what, details);
do $$ begin perform booking.make_invoice((test.payment(b)).id), booking.make_invoice((test.payment(b)).id) from t; end $$;
create temp table v as select what, t.b, i.gross as of_invoice, v.* from t join booking.invoices i on i.booking_id = t.b join booking.invoice_versions v on v.invoice_id = i.id;
select is((select count(*) from v), 4::bigint, 'one invoice each, however often it is asked for');
select is(seller, '{"name": "Lessons Ltd", "address": "1 High Street\nLondon", "tax_id": "GB123"}'::jsonb, 'the seller is the installation''s: ' || what) from v;
select is(buyer, jsonb_build_object('id', test.student(b), 'name', test.student(b), 'address', null, 'tax_id', null), 'without details the name is the student''s id: ' || what)
from v where what in ('plain', 'no object');
select is(buyer, jsonb_build_object('id', test.student(b), 'name', 'Zoë Łuczak', 'address', E'Rue 1\nParis', 'tax_id', 'FR1'), 'with them it is what they say')
from v where what = 'billing';
select is(format('%s %s %s', length(buyer ->> 'name'), buyer -> 'address', length(buyer ->> 'tax_id')), '200 null 50', 'within bounds') from v where what = 'odd';
select is(line, jsonb_build_object('title', 'Cello for beginners', 'expert_id', test.expert(b), 'starts_at', '2026-03-17T12:00:00Z', 'ends_at', '2026-03-17T13:00:00Z'),
  'what was sold, in UTC whatever the session''s time zone') from v where what = 'plain';
select is(format('%s %s %s %s %s %s', tax_name, tax_rate, net, tax, gross, of_invoice), 'USt 1900 4202 798 5000 5000', 'net, tax, gross') from v where what = 'plain';
-- the captured part only
create temp table p as select test.book() as b;
do $$ begin perform test.prepare(b) from p; perform test.event('payment_intent.succeeded', test.intent(b, 'succeeded', 3000)) from p;
  perform booking.make_invoice((test.payment(b)).id) from p; end $$;
select is(test.papers(b), '{INV issued v1 2521+479=3000}', 'what was captured, not what was asked') from p;
select * from finish();
