-- booking.apply_capture(): the short way of a capture does what the long one does, and else nothing.
select * from no_plan();
select test.set_clock('2026-03-10 12:00Z');

-- everything that the long way could touch, of one booking, without ids of its own
create function pg_temp.books(p_booking uuid) returns jsonb language sql as $$
  select jsonb_build_object(
    'booking', to_jsonb(b) - '{id,slot_id,session_id,student_id,expert_id,payment_id}'::text[],
    'payment', to_jsonb(p) - '{id,booking_id,stripe_payment_intent_id,stripe_charge_id}'::text[],
    'charge', replace(p.stripe_charge_id, replace(p.id::text, '-', ''), ''),
    'events', (select count(*) from booking.booking_events e where e.booking_id = b.id),
    'commands', test.commands(b.id),
    'refunds', (select count(*) from booking.refunds f where f.payment_id = p.id),
    'ledger', (select jsonb_agg(to_jsonb(t) - '{id,payment_id}'::text[] || jsonb_build_object(
                 'debit_account', replace(t.debit_account, b.expert_id, ''), 'credit_account', replace(t.credit_account, b.expert_id, ''))
                 order by t.id)
               from booking.transfers t where t.payment_id = p.id),
    'audit', (select jsonb_agg(jsonb_build_object('action', a.action, 'actor', regexp_replace(a.actor, '[0-9]+', ''),
                'detail', a.detail - '{booking_id,stripe_payment_intent_id}'::text[]) order by a.id)
              from booking.audit_log a where a.subject = p.id::text))
  from booking.bookings b join booking.payments p on p.id = b.payment_id where b.id = p_booking
$$;
create function pg_temp.counted() returns jsonb language sql as $$
  select coalesce(jsonb_agg(to_jsonb(d) - 'id' order by d.metric, d.at), '[]') from booking.stat_deltas d where d.metric in ('captured', 'refunded')
$$;
-- confirmed, and the command that asked for the money is done
create function pg_temp.a_booking() returns uuid language plpgsql as $$
declare
  v_id uuid := test.book();
  v_command uuid;
begin
  perform test.authorize(v_id);
  v_command := test.confirm(v_id);
  perform booking.claim_stripe_command(v_command, 'w');
  update booking.stripe_commands set status = 'done', outcome = 'applied', locked_by = null, lease_until = null where id = v_command;
  return v_id;
end
$$;
create function pg_temp.taken(p_booking uuid) returns jsonb language sql as $$ select test.intent(p_booking, 'succeeded', 5000) $$;
create function pg_temp.payment(p_booking uuid) returns uuid language sql as $$ select (test.payment(p_booking)).id $$;
do $$ begin perform set_config('booking.actor', 'stripe', true), set_config('booking.request_id', 'evt', true); end $$;

create temp table s as select pg_temp.a_booking() as short, pg_temp.a_booking() as long;
delete from booking.stat_deltas;
select ok(booking.apply_capture(pg_temp.payment(short), pg_temp.taken(short), 'cmd'), 'the short way applies it') from s;
create temp table short as select pg_temp.counted() as counted;
delete from booking.stat_deltas;
select ok(booking.apply_stripe_object(pg_temp.taken(long), null, booking.clock(), 'cmd', pg_temp.payment(long), test.intent_id(long), true),
  'and so does the long one') from s;
select is(booking.settle_payment(long), null, 'which asks for nothing more') from s;
select is(pg_temp.books(short), pg_temp.books(long), 'the same books') from s;
select is(counted, pg_temp.counted(), 'counted in the same way') from short;
select is(test.state(short), 'confirmed/captured', 'the money is ours') from s;
select is(jsonb_array_length(pg_temp.books(short) -> 'ledger'), 1, 'with its line in the ledger') from s;

-- where the long way has more to decide, nothing is done
create temp table w as select what, id, pg_temp.taken(id) || more as intent from (
  select what, pg_temp.a_booking() as id, more from (values
    ('another PaymentIntent', '{"id": "pi_other"}'::jsonb), ('in another currency', '{"currency": "eur"}'), ('without a currency', '{"currency": null}'),
    ('with its charge in it', '{"latest_charge": {"id": "ch_1"}}'), ('without a charge', '{"latest_charge": null}'),
    ('of a part', '{"amount_received": 4999}'), ('of nothing', '{"amount_received": 0}'), ('of an unknown amount', '{"amount_received": null}'),
    ('canceled', '{"status": "canceled"}'), ('still processing', '{"status": "processing"}'), ('that is something else', '{"object": "charge"}')) v (what, more)) x;
create function pg_temp.leave(p_what text, p_booking uuid) returns void language sql as $$
  insert into w values (p_what, p_booking, pg_temp.taken(p_booking))
$$;
do $$
declare
  v_id uuid;
begin
  perform pg_temp.leave('that is known already', test.captured_booking());
  v_id := test.book();
  perform test.authorize(v_id);
  perform pg_temp.leave('that nobody asked for', v_id);
  v_id := pg_temp.a_booking();
  perform booking.cancel_booking_transaction(test.student(v_id), v_id);
  perform pg_temp.leave('of a booking that was cancelled', v_id);
  v_id := pg_temp.a_booking();
  perform booking.apply_refund(pg_temp.payment(v_id), test.intent(v_id) || jsonb_build_object('object', 'refund', 'id', 're_early', 'amount', 100,
    'status', 'succeeded', 'currency', 'usd', 'payment_intent', test.intent_id(v_id)), 'evt');
  perform pg_temp.leave('after word of a refund', v_id);
  v_id := pg_temp.a_booking();
  update booking.payments set charge_refunded = 100 where booking_id = v_id;
  perform pg_temp.leave('whose charge shows a refund', v_id);
  v_id := pg_temp.a_booking();
  update booking.stripe_commands set status = 'dead', outcome = null where payment_id = pg_temp.payment(v_id);
  perform pg_temp.leave('with a command that was given up', v_id);
end
$$;
create temp table before as select what, pg_temp.books(id) as books from w;
select ok(not booking.apply_capture(pg_temp.payment(id), intent, 'cmd'), 'left to the long way: ' || what) from w;
select is(pg_temp.books(w.id), b.books, 'and nothing was written: ' || what) from w join before b using (what);
select ok(not booking.apply_capture('01890000-0000-7000-8000-000000000001', '{}', 'cmd'), 'nor of no payment of ours');
select * from finish();
