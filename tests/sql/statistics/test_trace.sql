-- booking.trace(): everything about one id, whatever it is the id of.
select * from no_plan();
create temp table b (n int, id uuid);
create temp table o (n text, id uuid);
do $$ declare v_command uuid; v_id uuid; v_product text := test.make_product(); begin
  perform test.set_clock('2030-03-10 12:00Z');
  insert into b select n, test.captured_booking() from generate_series(1, 2) n;
  insert into b values (3, test.book());
  select id into v_id from b where n = 1;
  perform test.set_clock('2030-03-10 13:00Z');
  v_command := test.approve(test.ask(v_id, 2000, 'my own words'));
  perform test.run_command(v_command);
  perform test.set_clock('2030-03-10 14:00Z');
  perform test.fail_refund(v_command);
  perform test.dispute(v_id, p_id => 'dp_1');
  insert into o values ('older', test.open_order('anna', v_product));
  insert into o values ('newer', test.open_order('anna', v_product));
  insert into o values ('other', test.open_order());
  perform test.event('payment_intent.succeeded', test.intent(v_id, 'succeeded') || '{"currency": "eur"}', 'evt_bad');
end $$;
create temp table p as select b.n, p.* from b join booking.payments p on p.booking_id = b.id;

create function pg_temp.found(p_id text) returns text[] language sql as $$
  select array_agg(x.kind || ' ' || x.status order by x.n)
  from (select t.kind, t.status, row_number() over () as n from booking.trace(p_id) t) x
$$;
create temp table whole as select array['booking confirmed', 'payment captured', 'command done', 'refund_request pending', 'command done',
  'refund failed', 'dispute needs_response', 'alert open', 'alert open'] as rows;

select is(pg_temp.found(id::text), whole.rows, 'of a booking: all of its payment, oldest first') from b, whole where n = 1;
select is(pg_temp.found(x.id), whole.rows, 'the same by ' || x.what)
from whole, lateral (
  select 'payment' as what, p.id::text as id from p where p.n = 1
  union all select 'PaymentIntent', p.stripe_payment_intent_id from p where p.n = 1
  union all select 'charge', p.stripe_charge_id from p where p.n = 1
  union all select 'command', c.id::text from booking.stripe_commands c join p on p.id = c.payment_id where p.n = 1
  union all select 'refund', f.stripe_refund_id from booking.refunds f
  union all select 'refund request', q.id::text from booking.refund_requests q
  union all select 'dispute', 'dp_1') x;
select is(pg_temp.found('evt_bad'), array['booking confirmed', 'payment captured', 'command done', 'refund_request pending', 'command done',
  'refund failed', 'dispute needs_response', 'event failed', 'alert open', 'alert open', 'alert open'],
  'of an event: the payment that it is about, and its own alert');
select is(detail #>> '{error,message}', 'currency_mismatch', 'with the reason why it failed') from booking.trace('evt_bad') where kind = 'event';
select is(pg_temp.found(id::text), '{booking pending}', 'of a booking without a payment') from b where n = 3;
select is(pg_temp.found(id::text), array['booking confirmed', 'payment captured', 'command done'], 'nothing of anybody else''s') from b where n = 2;
select is(pg_temp.found((test.booking(id)).slot_id::text), '{slot ahead}', 'of a slot') from b where n = 1;
select is(detail - 'expert_id' - 'starts_at', '{"capacity": 1, "confirmation": "expert", "taken": 1, "live_bookings": 1}', 'with the seats taken, and the bookings that hold them')
from b, booking.trace((test.booking(b.id)).slot_id::text) where n = 1;

select is((select array_agg(t.id order by t.id) from booking.trace(x.id) t where t.kind = 'order'), (select array_agg(o.id::text order by o.id) from o where o.n <> 'other'),
  'of an order: with those that it replaced, or that replaced it, by its ' || x.what)
from (select 'id' as what, o.id::text as id from o where o.n = 'older'
      union all select 'session', test.session_id(o.id) from o where o.n = 'newer'
      union all select 'command', c.id::text from booking.stripe_commands c join o on o.id = c.order_id where o.n = 'older') x;
do $$ begin perform test.event('checkout.session.completed', test.checkout_session(id) || '{"id": "cs_stray", "payment_intent": "pi_stray"}', 'evt_stray') from o where n = 'other'; end $$;
select is((select array_agg(t.id) from booking.trace('cs_stray') t where t.kind = 'order'), (select array[o.id::text] from o where o.n = 'other'),
  'an alert''s subject leads to the order that it names');
select is((select array_agg(t.id) from booking.trace(x.id) t where t.kind = 'order'), (select array[o.id::text] from o where o.n = 'other'),
  'and so does the event') from (values ('evt_stray')) x (id);

select is((select count(*) from b, booking.trace(b.id::text) t where t.detail::text like '%own words%'), 0::bigint, 'nobody''s own words are shown');
select is_empty('select * from booking.trace(' || quote_nullable(x) || ')', 'of ' || coalesce(quote_literal(x), 'null') || ': nothing')
from unnest(array['nothing', '', '00000000-0000-7000-8000-000000000000', '%', null]) x;
select * from finish();
