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
do $$ begin perform count(*) from test.reconcile('[]'); perform booking.begin_reconciliation('2026-03-10', '2026-03-11'); end $$;
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
do $$ begin
  perform booking.issue_missing_invoices();
  perform test.event('refund.created', test.refund(id, 300, 're_of_note')) from b where what = 'captured';
  perform test.event('refund.failed', test.refund(id, 300, 're_of_note', 'failed')) from b where what = 'captured';
  perform booking.correct_invoice('ann', (test.invoice(id)).id, '{"name": "Zoë"}', 'a typo') from b where what = 'instant';
end $$;
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
  ('seats_match_bookings', pg_temp.slot('authorized')::text, 'a seat that nobody holds', 'update booking.slot_seats set taken = taken + 1, is_open = false where slot_id = %L'),
  ('seats_match_bookings', pg_temp.slot('captured')::text, 'a holder without a seat', 'update booking.slot_seats set taken = 0, is_open = true where slot_id = %L'),
  ('seats_match_bookings', pg_temp.slot('completed')::text, 'a seat freed after the fact', 'update booking.slot_seats set taken = 0, is_open = true where slot_id = %L'),
  ('seats_add_up_to_capacity', pg_temp.slot('unpaid')::text, 'a counter of another size', 'update booking.slot_seats set capacity = 2, is_open = true where slot_id = %L'),
  ('seats_add_up_to_capacity', pg_temp.slot('unpaid')::text, 'another number of counters', 'with q as (update booking.slot_seats set parts = 2 where slot_id = %L) update booking.slots set parts = 2 where id = %1$L'),
  ('counter_tells_its_slot', pg_temp.slot('unpaid')::text, 'a full counter among the open ones', 'update booking.slot_seats set is_open = true where slot_id = %L'),
  ('counter_tells_its_slot', pg_temp.slot('unpaid')::text, 'a price that is not the session''s', 'update booking.slot_seats set amount = amount + 1 where slot_id = %L'),
  ('counter_tells_its_slot', pg_temp.slot('unpaid')::text, 'a title that is not the session''s', 'update booking.slot_seats set title = title || ''!'' where slot_id = %L'),
  ('counter_tells_its_slot', pg_temp.slot('unpaid')::text, 'a slot that was changed behind its counter', 'update booking.slots set confirmation = ''instant'' where id = %L'))
  v (invariant, subject, what, plant);
select is(pg_temp.found_after(format(plant, subject)), array[invariant || ' ' || subject], invariant || ': ' || what)
from (values
  ('booking_has_its_seat', pg_temp.b('declined')::text, 'a booking whose counter is not there', 'update booking.bookings set seat_part = 9 where id = %L'),
  ('amounts_belong_together', pg_temp.pay('prepared')::text, 'a price of nothing', 'with b as (update booking.bookings set amount = 0 where payment_id = %1$L)
     update booking.payments set amount = 0 where id = %1$L'),
  ('amounts_belong_together', pg_temp.pay('captured')::text, 'more captured than its price', 'with b as (update booking.bookings set amount = amount - 1 where payment_id = %1$L)
     update booking.payments set amount = amount - 1 where id = %1$L'),
  ('amounts_belong_together', pg_temp.pay('prepared')::text, 'captured without money', 'update booking.payments set status = ''captured'' where id = %L'),
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
  ('reconciliation_is_counted', (select id::text from booking.reconciliation_runs where differences > 0), 'a difference that is not counted',
    'update booking.reconciliation_runs set differences = differences - 1 where id = %L'),
  ('reconciliation_is_counted', (select id::text from booking.reconciliation_runs where differences > 0), 'a pending one that is not there',
    'update booking.reconciliation_runs set pending = 1 where id = %L'),
  ('reconciliation_is_counted', (select id::text from booking.reconciliation_runs where status = 'running'), 'a difference of a run that is not finished',
    'insert into booking.reconciliation_differences (run_id, number, stripe_id, kind) values (%L, 1, ''pi_1'', ''amount'')'),
  ('statistics_match_rows', 'booked', 'a booking too many', 'insert into booking.stat_deltas values (%L, now(), ''eur'', 1, 0)'),
  ('statistics_match_rows', 'confirmed', 'a confirmation too few', 'insert into booking.stat_deltas values (%L, now(), '''', -1, 0)'),
  ('statistics_match_rows', 'declined', 'a decline too many', 'insert into booking.stat_deltas values (%L, now(), '''', 1, 0)'),
  ('statistics_match_rows', 'completed', 'a completion too many', 'insert into booking.stat_deltas values (%L, now(), '''', 1, 0)'),
  ('statistics_match_rows', 'slots', 'a slot too many', 'insert into booking.stat_deltas values (%L, now(), '''', 1, 0)'),
  ('statistics_match_rows', 'seats', 'a seat too many', 'insert into booking.stat_deltas values (%L, now(), '''', 1, 0)'),
  ('statistics_match_rows', 'captured', 'money that was not captured', 'insert into booking.stat_deltas values (%L, now(), ''usd'', 0, 1)'),
  ('statistics_match_rows', 'refunded', 'money that was not refunded', 'insert into booking.stat_deltas values (%L, now(), ''usd'', 0, 1)'),
  ('statistics_match_rows', 'captured', 'folded hours that are wrong', 'with h as (update booking.stat_hours set amount = amount + 1 where metric = ''captured'' returning *)
     update booking.stat_periods p set amount = p.amount + (select count(*) from h where h.currency = p.currency and date_trunc(p.period::text, h.hour, ''UTC'') = p.begins_at)
     where p.metric::text = %L'),
  ('statistics_add_up', 'captured day', 'a day that is not its hours', 'update booking.stat_periods set amount = amount + 1 where metric || '' '' || period = %L'),
  ('statistics_add_up', 'booked month', 'a month that is not its hours', 'update booking.stat_periods set quantity = quantity + 1 where metric || '' '' || period = %L'),
  ('statistics_add_up', 'booked month', 'a month that is missing', 'delete from booking.stat_periods where metric || '' '' || period = %L'))
  v (invariant, subject, what, plant);
create function pg_temp.inv(p_what text) returns uuid language sql as $$ select (test.invoice(pg_temp.b(p_what))).id $$;
create temp table series as select (min(year))::text as year from booking.invoice_series;
select is(pg_temp.found_after(format(plant, subject)), array[invariant || ' ' || subject], invariant || ': ' || what)
from series, lateral (values
  ('invoice_matches_capture', pg_temp.inv('completed')::text, 'an invoice of another amount', 'with v as (update booking.invoice_versions set gross = gross - 1, net = net - 1 where invoice_id = %L)
     update booking.invoices set gross = gross - 1 where id = %1$L'),
  ('credit_notes_match_refunds', pg_temp.inv('partly refunded')::text, 'a credit note of another amount', 'with n as (update booking.invoices set gross = gross + 1 where credited_invoice_id = %L returning id)
     update booking.invoice_versions set gross = gross + 1, net = net + 1 where invoice_id in (select id from n)'),
  ('credit_notes_match_refunds', pg_temp.inv('completed')::text, 'credited by its status only', 'update booking.invoices set status = ''credited'' where id = %L'),
  ('credit_notes_match_refunds', pg_temp.inv('partly refunded')::text, 'credited whole by its status only', 'update booking.invoices set status = ''credited'' where id = %L'),
  ('invoice_numbers_have_no_gap', 'INV-' || year, 'a number that nobody has', 'update booking.invoice_series set last_number = last_number + 1 where series || ''-'' || year = %L'),
  ('invoice_numbers_have_no_gap', 'CN-' || year, 'a counter that lags', 'update booking.invoice_series set last_number = last_number - 1 where series || ''-'' || year = %L'),
  ('invoice_numbers_have_no_gap', 'CN-' || year, 'a counter that is gone', 'delete from booking.invoice_series where series || ''-'' || year = %L'),
  ('invoice_numbers_have_no_gap', 'INV-' || year, 'a gap in the middle', 'update booking.invoices set serial = 99 where series || ''-'' || year = %L and serial = 2'),
  ('invoice_numbers_have_no_gap', 'INV-' || year, 'an invoice in the middle that is gone', 'with v as (delete from booking.invoice_versions where invoice_id = pg_temp.inv(''completed''))
     delete from booking.invoices where id = pg_temp.inv(''completed'') and series || ''-'' || year = %L'),
  ('invoice_versions_are_whole', pg_temp.inv('instant')::text, 'a first version that is gone', 'delete from booking.invoice_versions where invoice_id = %L and version = 1'),
  ('invoice_versions_are_whole', pg_temp.inv('instant')::text, 'a newest version that is gone', 'delete from booking.invoice_versions where invoice_id = %L and version = 2'),
  ('invoice_versions_are_whole', pg_temp.inv('instant')::text, 'another amount in the newest version',
    'update booking.invoice_versions set gross = gross + 1, net = net + 1 where invoice_id = %L and version = 2')) v (invariant, subject, what, plant);
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

-- orders
create temp table orders as select test.open_order('anna', p) as old, p from test.make_product() p;
create temp table newer as select test.open_order('anna', p) as id from orders;
create temp table strangers as select test.open_order() as id;
select is_empty('select * from booking.check_invariants()', 'orders that superseded one another are in order');
select is(pg_temp.found_after(format(plant, subject)), array[invariant || ' ' || subject], invariant || ': ' || what)
from orders, newer, strangers, lateral (values
  ('superseded_order_loses_its_session', old, 'nobody ends its session', 'update booking.stripe_commands set status = ''done'', outcome = ''superseded'' where order_id = %L'),
  ('superseded_order_has_a_session', old, 'superseded and without a session, but pending',
   'with c as (delete from booking.stripe_commands where order_id = %1$L) update booking.orders set stripe_session_id = null where id = %1$L'),
  ('successor_is_of_the_same_purchase', strangers.id, 'superseded by somebody else''s order', 'with c as (insert into booking.stripe_commands (id, order_id, operation, stripe_id)
     select gen_random_uuid(), id, ''expire_checkout_session'', stripe_session_id from booking.orders where id = %1$L) update booking.orders set superseded_by = (select old from orders) where id = %1$L'),
  ('checkout_key_leads_to_its_order', strangers.id, 'a key of somebody else''s', 'update booking.client_idempotency set user_id = ''nobody'' where result_id = %L'))
  v (invariant, subject, what, plant);
select is(pg_temp.found_after(format('update booking.stripe_commands set operation = ''create_refund'' where order_id = %L', old)),
  array['order_command_names_its_session ' || (select c.id from booking.stripe_commands c where c.order_id = old)], 'order_command_names_its_session: a refund') from orders;
-- refund requests
create temp table rq as select what, test.captured_booking() as b from unnest(array['asked', 'approved', 'waiting', 'paid', 'rejected']) what;
alter table rq add q uuid;
update rq set q = test.ask(b, 3000);
do $$ begin perform test.approve(q, case what when 'rejected' then 'reject' else 'approve' end) from rq where what <> 'asked';
  perform test.run_commands(b) from rq where what = 'paid'; perform test.dispute(b) from rq where what = 'waiting'; end $$;
select is_empty('select * from booking.check_invariants()', 'requests in every state are in order');
create function pg_temp.q(p_what text) returns text language sql as $$ select q::text from rq where what = p_what $$;
create function pg_temp.rp(p_what text) returns text language sql as $$ select (test.payment(b)).id::text from rq where what = p_what $$;
select is(pg_temp.found_after(format(plant, subject)), found, what) from (values
  (pg_temp.q('waiting'), array['approved_request_is_on_its_way ' || pg_temp.q('waiting')], 'an approved request that nobody sends', 'with d as (update booking.disputes set status = ''won'')
     update booking.refund_requests set command_id = null where id = %L'),
  (pg_temp.q('approved'), array['request_follows_its_refund ' || pg_temp.q('approved')], 'a request whose command was given up',
    'update booking.stripe_commands c set status = ''done'', outcome = ''superseded'' from booking.refund_requests q where c.id = q.command_id and q.id = %L'),
  (pg_temp.q('approved'), array['request_follows_its_refund ' || pg_temp.q('approved')], 'a request whose command asks for another amount',
    'update booking.stripe_commands c set params = c.params || ''{"amount": 3001}'' from booking.refund_requests q where c.id = q.command_id and q.id = %L'),
  (pg_temp.q('approved'), array['request_follows_its_refund ' || pg_temp.q('approved')], 'refunded without a refund', 'update booking.refund_requests set status = ''refunded'' where id = %L'),
  (pg_temp.q('paid'), array['request_follows_its_refund ' || pg_temp.q('paid')], 'approved though it is refunded', 'update booking.refund_requests set status = ''approved'' where id = %L'),
  (pg_temp.q('paid'), array['request_follows_its_refund ' || pg_temp.q('paid')], 'somebody else''s command',
    'update booking.stripe_commands c set refund_request_id = null from booking.refund_requests q where c.id = q.command_id and q.id = %L'),
  (pg_temp.q('asked'), array['request_matches_payment ' || pg_temp.q('asked')], 'another student''s request', 'update booking.refund_requests set student_id = ''x'' where id = %L'),
  (pg_temp.q('asked'), array['request_matches_payment ' || pg_temp.q('asked')], 'a request in another currency', 'update booking.refund_requests set currency = ''eur'' where id = %L'),
  (pg_temp.q('asked'), array['request_matches_payment ' || pg_temp.q('asked')], 'a request for more than was captured', 'update booking.refund_requests set amount = 5001 where id = %L'),
  (pg_temp.rp('paid'), array['requests_within_captured ' || pg_temp.rp('paid')], 'more approved than captured', 'with n as (insert into booking.disputes (stripe_dispute_id, payment_id, amount, currency, status, stripe_seen_at)
     select ''dp_x'', %1$L, 1, ''usd'', ''needs_response'', now()) insert into booking.refund_requests (id, booking_id, payment_id, student_id, amount, currency, status, decided_by, decided_at)
     select gen_random_uuid(), b.id, b.payment_id, b.student_id, 2001, ''usd'', ''approved'', ''x'', now() from booking.bookings b where b.payment_id = %1$L'))
  v (subject, found, what, plant);
select is(pg_temp.found_after(format('update booking.stripe_commands c set status = ''dead'' from booking.refund_requests q where c.id = q.command_id and q.id = %L', pg_temp.q('approved'))), '{}',
  'a request''s command that is dead is work for a person');

-- a payment that moved on to the booking that seated its student again
create temp table moved as select test.hold_seat(test.make_class(2), 'ann') as id;
do $$ begin perform test.lapse(id), test.event('payment_intent.succeeded', test.intent(id, 'succeeded')) from moved; end $$;
select is_empty('select * from booking.check_invariants()', 'a student who was seated again is in order');
select is(pg_temp.found_after(format(plant, id)), array['payment_moved_to_its_new_booking ' || id], 'payment_moved_to_its_new_booking: ' || what)
from moved, (values ('from a booking that had not lapsed', 'update booking.bookings set cancelled_by = ''student'' where id = %L'),
  ('from a booking of somebody else', 'update booking.bookings set student_id = ''bob'' where id = %L'),
  ('from a booking that an expert confirms', 'update booking.bookings set confirmation = ''expert'' where id = %L')) v (what, plant);

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
