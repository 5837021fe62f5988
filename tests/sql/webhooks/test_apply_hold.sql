-- booking.apply_hold(): the short way of an authorization does what the long one does, and else nothing.
select * from no_plan();
select test.set_clock('2026-03-10 12:00Z');

-- everything that the long way could touch, of one booking, without ids and times of its own
create function pg_temp.books(p_booking uuid) returns jsonb language sql as $$
  select jsonb_build_object(
    'booking', to_jsonb(b) - '{id,slot_id,session_id,student_id,expert_id,payment_id}'::text[],
    'payment', to_jsonb(p) - '{id,booking_id,stripe_payment_intent_id,stripe_charge_id}'::text[],
    'charge', replace(p.stripe_charge_id, replace(p.id::text, '-', ''), ''),
    'events', (select count(*) from booking.booking_events e where e.booking_id = b.id),
    'commands', test.commands(b.id),
    'audit', (select jsonb_agg(jsonb_build_object('action', a.action, 'actor', regexp_replace(a.actor, '[0-9]+', ''), 'request', a.request_id,
                'detail', a.detail - '{booking_id,stripe_payment_intent_id}'::text[]) order by a.id)
              from booking.audit_log a where a.subject = p.id::text))
  from booking.bookings b join booking.payments p on p.id = b.payment_id where b.id = p_booking
$$;
create function pg_temp.a_booking(p_status text, p_confirmation text default 'expert') returns uuid language plpgsql as $$
declare
  v_id uuid := test.book(test.make_slot(p_confirmation => p_confirmation));
begin
  perform test.prepare(v_id);
  update booking.payments set status = p_status::booking.payment_status where booking_id = v_id and p_status <> 'pending';
  return v_id;
end
$$;
do $$ begin perform set_config('booking.actor', 'stripe', true), set_config('booking.request_id', 'evt', true); end $$;

create temp table s as
select status, confirmation, pg_temp.a_booking(status, confirmation) as short, pg_temp.a_booking(status, confirmation) as long
from unnest(array['pending', 'requires_action', 'processing', 'failed']) status, unnest(array['expert', 'instant']) confirmation;
create temp table r as select s.*, booking.apply_hold(test.intent(short)) as taken,
  booking.apply_stripe_object(test.intent(long), 'payment_intent.amount_capturable_updated', booking.clock(), 'evt') as applied from s;
select ok(taken and applied, status || ' ' || confirmation || ': both ways apply it') from r;
select is(pg_temp.books(short), pg_temp.books(long), status || ' ' || confirmation || ': the same books') from r;
select is(test.state(short), 'pending/authorized', status || ': it is held') from r;

-- where the long way has more to decide, nothing is done
create temp table w as select what, id, test.intent(id) || more as intent from (
  select what, pg_temp.a_booking('pending') as id, more from (values
    ('of no payment of ours', '{"id": "pi_other"}'::jsonb), ('in another currency', '{"currency": "eur"}'), ('without a currency', '{"currency": null}'),
    ('with its charge in it', '{"latest_charge": {"id": "ch_1"}}'), ('without a charge', '{"latest_charge": null}'),
    ('canceled', '{"status": "canceled"}'), ('succeeded', '{"status": "succeeded"}'), ('with money', '{"amount_received": 5000}'),
    ('that is something else', '{"object": "charge"}')) v (what, more)) x;
insert into w select status, id, test.intent(id) from (select status, pg_temp.a_booking(status) as id from unnest(array['authorized', 'cancelled']) status) x;
insert into w select 'of a captured payment', id, test.intent(id) from (select test.captured_booking('30 hours') as id) x;
insert into w select 'of a booking that was cancelled', id, test.intent(id) from (select pg_temp.a_booking('pending') as id) x;
do $$ begin perform booking.cancel_booking_transaction(test.student(id), id) from w where what = 'of a booking that was cancelled'; end $$;
insert into w select 'that Stripe called canceled', id, test.intent(id) from (select pg_temp.a_booking('pending') as id) x;
update booking.payments set stripe_cancelled_at = now() where booking_id = (select id from w where what = 'that Stripe called canceled');
create temp table before as select what, pg_temp.books(id) as books from w;
select ok(not booking.apply_hold(intent), 'left to the long way: ' || what) from w;
select is(pg_temp.books(w.id), b.books, 'and nothing was written: ' || what) from w join before b using (what);
select ok(not booking.apply_hold('{}'), 'nor is an object without anything');
select is_empty('select * from booking.check_invariants()', 'the books are in order');
select * from finish();
