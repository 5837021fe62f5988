-- booking.check_invariants(): empty when all is well; each violation, planted past the guards, is found and nothing else.
select * from no_plan();
select is_empty('select * from booking.check_invariants()', 'an empty database is in order');

-- a bit of everything
select test.set_clock('2026-03-10 12:00Z');
create temp table b as select what, test.book(test.make_slot(start, capacity, confirmation)) as id from (values
  ('unpaid', '3 days'::interval, 1, 'expert'), ('prepared', '3 days', 1, 'expert'), ('authorized', '3 days', 2, 'expert'), ('confirmed', '3 days', 40, 'expert'),
  ('captured', '3 days', 1, 'expert'), ('instant', '3 days', 1, 'instant'), ('declined', '3 days', 1, 'expert'), ('declined early', '3 days', 1, 'expert'),
  ('expired', '3 days', 1, 'expert'), ('refund queued', '10 hours', 1, 'expert'), ('refunded', '30 hours', 1, 'expert'), ('partly refunded', '3 days', 1, 'expert'),
  ('refund failed', '30 hours', 1, 'expert'), ('completed', '2 hours', 1, 'expert'), ('nothing back', '1 hour', 1, 'expert')) v (what, start, capacity, confirmation);
create function pg_temp.b(p_what text) returns uuid language sql as $$ select id from b where what = p_what $$;
do $$ begin
  perform booking.prepare_payment_intent(test.student(id), id) from b where what in ('prepared', 'declined early');
  perform test.authorize(id) from b where what in ('authorized', 'declined', 'confirmed', 'expired');
  perform test.confirm(id) from b where what = 'confirmed';
  perform test.capture(id) from b where what in ('captured', 'refund queued', 'refunded', 'partly refunded', 'refund failed', 'completed', 'nothing back');
  perform test.prepare(id), test.event('payment_intent.succeeded', test.intent(id, 'succeeded')) from b where what = 'instant';
  perform booking.confirm_booking_transaction(test.expert(id), id, 'decline') from b where what in ('declined', 'declined early');
  perform booking.cancel_booking_transaction(test.student(id), id) from b where what in ('refund queued', 'refunded', 'refund failed', 'nothing back');
  perform test.run_commands(id) from b where what in ('refunded', 'refund failed');
  perform test.event('refund.created', test.refund(id, 700)) from b where what = 'partly refunded';
end $$;
do $$ begin
  perform test.event('refund.failed', test.refund(b.id, f.amount, f.stripe_refund_id, 'failed'))
  from b join booking.payments p on p.booking_id = b.id join booking.refunds f on f.payment_id = p.id where what = 'refund failed';
end $$;
select test.set_clock('2026-03-10 16:00Z');
do $$ begin perform booking.complete_past_bookings(); end $$;
set session_replication_role = replica;
update booking.bookings set created_at = '2026-03-10 17:00Z' where status = 'pending' and id <> pg_temp.b('expired');
set session_replication_role = origin;
do $$ begin perform booking.cleanup_expired_bookings(); end $$;
set session_replication_role = replica;
update booking.bookings set created_at = '2026-03-10 12:00Z' where status = 'pending';
set session_replication_role = origin;
select results_eq($$ select what, test.state(id) from b order by 1 $$, $$ values
  ('authorized', 'pending/authorized'), ('captured', 'confirmed/captured'), ('completed', 'completed/captured'), ('confirmed', 'confirmed/authorized'),
  ('declined', 'declined/authorized'), ('declined early', 'declined/cancelled'), ('expired', 'cancelled/authorized'), ('instant', 'confirmed/captured'),
  ('nothing back', 'cancelled/captured'), ('partly refunded', 'confirmed/partially_refunded'), ('prepared', 'pending/pending'), ('refund failed', 'cancelled/captured'),
  ('refund queued', 'cancelled/captured'), ('refunded', 'cancelled/refunded'), ('unpaid', 'pending/-') $$, 'bookings and payments in every state');
select is_empty('select * from booking.check_invariants()', 'after a clean run all is in order');
do $$ begin perform booking.roll_up_stats(); end $$;
select is_empty('select * from booking.check_invariants()', 'also when the statistics are folded');

-- Writes past every guard, looks, and takes it back.
create function pg_temp.found_after(p_sql text) returns text[] language plpgsql as $$
declare
  v_found text[];
  v_count int;
begin
  begin
    set local session_replication_role = replica;
    execute p_sql;
    get diagnostics v_count = row_count;
    select array_agg(c.invariant || ' ' || c.subject order by 1) into v_found from booking.check_invariants() c;
    if v_count = 0 then
      v_found := array['nothing was planted'];
    end if;
    raise exception using errcode = 'TEST1';
  exception when sqlstate 'TEST1' then
    return coalesce(v_found, '{}');
  end;
end
$$;
create function pg_temp.slot(p_what text) returns uuid language sql as $$ select (test.booking(pg_temp.b(p_what))).slot_id $$;
create function pg_temp.pay(p_what text) returns uuid language sql as $$ select (test.booking(pg_temp.b(p_what))).payment_id $$;

select is(pg_temp.found_after(format(plant, subject)), array[invariant || ' ' || subject],
  invariant || ': ' || what)
from (values
  ('seats_match_bookings', pg_temp.slot('authorized')::text, 'a seat that nobody holds', 'update booking.slot_seats set taken = taken + 1 where slot_id = %L'),
  ('seats_match_bookings', pg_temp.slot('captured')::text, 'a holder without a seat', 'update booking.slot_seats set taken = 0 where slot_id = %L'),
  ('seats_match_bookings', pg_temp.slot('completed')::text, 'a seat freed after the fact', 'update booking.slot_seats set taken = 0 where slot_id = %L'),
  ('seats_add_up_to_capacity', pg_temp.slot('unpaid')::text, 'a counter of another size', 'update booking.slot_seats set capacity = 2 where slot_id = %L'),
  ('seats_add_up_to_capacity', pg_temp.slot('unpaid')::text, 'another number of counters', 'update booking.slots set parts = 2 where id = %L'))
  v (invariant, subject, what, plant);
select is(pg_temp.found_after(format(plant, subject)), array[invariant || ' ' || subject], invariant || ': ' || what)
from (values
  ('booking_has_its_seat', pg_temp.b('declined')::text, 'a booking whose counter is not there', 'update booking.bookings set seat_part = 9 where id = %L'),
  ('payment_matches_booking', pg_temp.pay('captured')::text, 'another amount', 'update booking.payments set amount = amount + 1 where id = %L'),
  ('payment_matches_booking', pg_temp.pay('captured')::text, 'another currency', 'update booking.payments set currency = ''eur'' where id = %L'),
  ('payment_matches_booking', pg_temp.pay('prepared')::text, 'another payment', 'update booking.bookings set payment_id = gen_random_uuid() where payment_id = %L'),
  ('confirmed_is_paid', pg_temp.b('confirmed')::text, 'a failed payment', 'update booking.payments set status = ''failed'' where booking_id = %L'),
  ('confirmed_is_paid', pg_temp.b('confirmed')::text, 'a cancelled payment', 'update booking.payments set status = ''cancelled'' where booking_id = %L'),
  ('confirmed_is_paid', pg_temp.b('confirmed')::text, 'no payment', 'delete from booking.payments where booking_id = %L'),
  ('confirmed_is_captured_or_on_its_way', pg_temp.b('confirmed')::text, 'no capture was asked for',
    'delete from booking.stripe_commands where id = test.open_command(%L)'),
  ('confirmed_is_captured_or_on_its_way', pg_temp.b('confirmed')::text, 'its capture was given up',
    'update booking.stripe_commands set status = ''done'', outcome = ''superseded'' where id = test.open_command(%L)'),
  ('dead_booking_releases_hold', pg_temp.b('declined')::text, 'a hold kept after a decline', 'delete from booking.stripe_commands where id = test.open_command(%L)'),
  ('dead_booking_releases_hold', pg_temp.b('expired')::text, 'a hold kept after expiry',
    'update booking.stripe_commands set status = ''done'', outcome = ''superseded'' where id = test.open_command(%L)'),
  ('dead_booking_releases_hold', pg_temp.b('declined early')::text, 'a payment left open', 'update booking.payments set status = ''pending'' where booking_id = %L'),
  ('dead_booking_is_refunded', pg_temp.b('refund queued')::text, 'a refund that nobody asked for', 'delete from booking.stripe_commands where id = test.open_command(%L)'),
  ('dead_booking_is_refunded', pg_temp.b('nothing back')::text, 'less given back than owed', 'update booking.bookings set refund_percent = 50 where id = %L'),
  ('refunds_match_payment', pg_temp.pay('partly refunded')::text, 'a refund of another amount', 'update booking.refunds set amount = amount - 1 where payment_id = %L'),
  ('refunds_match_payment', pg_temp.pay('partly refunded')::text, 'a refund that is gone', 'delete from booking.refunds where payment_id = %L'),
  ('refunds_match_payment', pg_temp.pay('partly refunded')::text, 'a charge that shows more', 'update booking.payments set charge_refunded = 701 where id = %L'),
  ('payment_status_matches_amounts', pg_temp.pay('partly refunded')::text, 'captured though partly refunded', 'update booking.payments set status = ''captured'' where id = %L'),
  ('payment_status_matches_amounts', pg_temp.pay('captured')::text, 'refunded though captured', 'update booking.payments set status = ''refunded'' where id = %L'),
  ('payment_status_matches_amounts', pg_temp.pay('refunded')::text, 'partly refunded though wholly', 'update booking.payments set status = ''partially_refunded'' where id = %L'),
  ('ledger_matches_payment', pg_temp.pay('captured')::text, 'a capture of another amount', 'update booking.transfers set amount = amount + 1 where payment_id = %L'),
  ('ledger_matches_payment', pg_temp.pay('captured')::text, 'a capture that is gone', 'delete from booking.transfers where payment_id = %L'),
  ('ledger_matches_payment', pg_temp.pay('partly refunded')::text, 'a refund that is gone', 'delete from booking.transfers where payment_id = %L and kind = ''refund'''),
  ('ledger_matches_payment', pg_temp.pay('refund failed')::text, 'a reversal that is gone', 'delete from booking.transfers where payment_id = %L and kind = ''refund_reversal'''),
  ('ledger_matches_payment', pg_temp.pay('captured')::text, 'a refund that never was', 'insert into booking.transfers (payment_id, kind, debit_account, credit_account,
     amount, currency, source) values (%L, ''refund'', ''a'', ''b'', 1, ''usd'', ''x'')'),
  ('audit_ends_at_status', pg_temp.b('captured')::text, 'a confirmation without a trace', 'delete from booking.booking_events where booking_id = %L'),
  ('audit_ends_at_status', pg_temp.b('completed')::text, 'a completion without a trace', 'delete from booking.booking_events where booking_id = %L and to_status = ''completed'''),
  ('audit_ends_at_status', pg_temp.b('unpaid')::text, 'a step that was not made', 'insert into booking.booking_events (booking_id, from_status, to_status, actor)
     values (%L, ''pending'', ''declined'', ''x'')'),
  ('statistics_match_rows', 'booked', 'a booking too many', 'insert into booking.stat_deltas values (%L, now(), ''eur'', 1, 0)'),
  ('statistics_match_rows', 'confirmed', 'a confirmation too few', 'insert into booking.stat_deltas values (%L, now(), '''', -1, 0)'),
  ('statistics_match_rows', 'declined', 'a decline too many', 'insert into booking.stat_deltas values (%L, now(), '''', 1, 0)'),
  ('statistics_match_rows', 'completed', 'a completion too many', 'insert into booking.stat_deltas values (%L, now(), '''', 1, 0)'),
  ('statistics_match_rows', 'slots', 'a slot too many', 'insert into booking.stat_deltas values (%L, now(), '''', 1, 0)'),
  ('statistics_match_rows', 'seats', 'a seat too many', 'insert into booking.stat_deltas values (%L, now(), '''', 1, 0)'),
  ('statistics_match_rows', 'captured', 'money that was not captured', 'insert into booking.stat_deltas values (%L, now(), ''usd'', 0, 1)'),
  ('statistics_match_rows', 'refunded', 'money that was not refunded', 'insert into booking.stat_deltas values (%L, now(), ''usd'', 0, 1)'),
  ('statistics_match_rows', 'captured', 'folded hours that are wrong', 'update booking.stat_hours set amount = amount + 1 where metric::text = %L'))
  v (invariant, subject, what, plant);
select is(pg_temp.found_after('delete from booking.slot_seats where slot_id = ''' || slot || ''''), array['seats_add_up_to_capacity ' || slot], 'seats_add_up_to_capacity: no counter')
from (select test.make_slot('9 days') as slot) x;

-- what is only late, or for a person, is no violation
select is(pg_temp.found_after(format(plant, subject)), '{}', what) from (values
  (pg_temp.b('confirmed')::text, 'a capture that is dead', 'update booking.stripe_commands set status = ''dead'' where id = test.open_command(%L)'),
  (pg_temp.b('confirmed')::text, 'a capture that Stripe refused', 'update booking.stripe_commands set status = ''done'', outcome = ''refused'' where id = test.open_command(%L)'),
  (pg_temp.b('declined')::text, 'a release that is dead', 'update booking.stripe_commands set status = ''dead'' where id = test.open_command(%L)'),
  (pg_temp.b('refund queued')::text, 'a refund that is dead', 'update booking.stripe_commands set status = ''dead'' where id = test.open_command(%L)'),
  (pg_temp.b('nothing back')::text, 'a refund held by a dispute', 'with d as (insert into booking.disputes (stripe_dispute_id, payment_id, amount, currency, status, stripe_seen_at)
     select id::text, id, 1, ''usd'', ''needs_response'', now() from booking.payments) update booking.bookings set refund_percent = 50 where id = %L')) v (subject, what, plant);
select is(pg_temp.found_after(format('with d as (insert into booking.disputes (stripe_dispute_id, payment_id, amount, currency, status, stripe_seen_at)
     select ''dp_1'', id, 1, ''usd'', ''won'', now() from booking.payments where booking_id = %L) update booking.bookings set refund_percent = 50 where id = %1$L', id)),
  array['dead_booking_is_refunded ' || id], 'but a dispute that was won holds nothing') from b where what = 'nothing back';
select is_empty('select * from booking.check_invariants()', 'what was planted is gone again');

-- a session that took place although its hold was lost before the capture: an alert, no violation
create temp table late as select test.book(test.make_slot('1 hour')) as id;
do $$ begin perform test.authorize(id), test.confirm(id) from late; end $$;
select test.set_clock('2026-03-10 19:00Z');
do $$ begin perform booking.complete_past_bookings();
  perform test.event('payment_intent.canceled', test.intent(id, 'canceled')) from late; end $$;
select is(test.state(id), 'completed/cancelled', 'it took place, its payment did not') from late;
select is_empty('select * from booking.check_invariants()', 'nothing is wrong between the tables');
select is((select kind from booking.alerts where subject = late.id::text), 'session_unpaid', 'but a person is told') from late;
select * from finish();
