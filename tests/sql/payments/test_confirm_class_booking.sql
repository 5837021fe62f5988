-- booking.confirm_class_booking(): what is true after the student has paid, whoever told us first.
select * from no_plan();
create temp table c as select test.make_class(1) as class, test.make_class(1) as other;
create temp table b as select test.hold_seat(class, 'ann') as id from c;
create function pg_temp.confirm(p_changes jsonb default '{}', p_user text default 'ann') returns text language sql as $$
  select concat_ws(' ', r.status, r.was_changed, r.refusal)
  from c, b, booking.confirm_class_booking(p_user, class, test.paid_intent(id, p_changes)) r $$;
-- what does not fit is refused, and nothing is written
select test.refused(format('select pg_temp.confirm(%L)', changes), 'PT400', 'payment_metadata_mismatch',
  jsonb_build_object('class_id', class, 'mismatch', mismatch), what)
from c, b, lateral (values
  ('somebody else''s PaymentIntent', jsonb_build_object('metadata', test.paid_intent(id) -> 'metadata' || '{"user_id": "bob"}'), 'user_id'),
  ('without a user', jsonb_build_object('metadata', (test.paid_intent(id) -> 'metadata') - 'user_id'), 'user_id'),
  ('another class', jsonb_build_object('metadata', test.paid_intent(id) -> 'metadata' || jsonb_build_object('class_id', other)), 'class_id'),
  ('without a class', jsonb_build_object('metadata', (test.paid_intent(id) -> 'metadata') - 'class_id'), 'class_id'),
  ('another payment', jsonb_build_object('metadata', test.paid_intent(id) -> 'metadata' || jsonb_build_object('payment_id', gen_random_uuid())), 'payment_id'),
  ('without a payment', jsonb_build_object('metadata', (test.paid_intent(id) -> 'metadata') - 'payment_id'), 'payment_id'),
  ('no metadata', '{"metadata": {}}', 'payment_id'),
  ('not ours at all', '{"id": "pi_of_another_system", "metadata": {}}', 'payment_id'),
  ('another PaymentIntent that names our payment', '{"id": "pi_another"}', 'id'),
  ('a smaller amount', '{"amount": 1, "amount_received": 1}', 'amount'),
  ('a larger amount', '{"amount": 3001, "amount_received": 3001}', 'amount'),
  ('no amount', '{"amount": null}', 'amount'),
  ('more received than asked', '{"amount_received": 3001}', 'amount'),
  ('another currency', '{"currency": "eur"}', 'currency'),
  ('no currency', '{"currency": null}', 'currency')) v (what, changes, mismatch);
select test.refused('select pg_temp.confirm(p_user => ''bob'')', 'PT400', 'payment_metadata_mismatch', '{"mismatch": "user_id"}', 'another person with the student''s PaymentIntent');
select test.refused(format('select pg_temp.confirm(%L, ''bob'')', jsonb_build_object('metadata', test.paid_intent(id) -> 'metadata' || '{"user_id": "bob"}')),
  'PT400', 'payment_metadata_mismatch', '{"mismatch": "user_id"}', 'the booking is the student''s, whatever the metadata says') from b;
select test.refused(format('select booking.confirm_class_booking(%L, %L, %L)', 'ann', other,
    test.paid_intent(id, jsonb_build_object('metadata', test.paid_intent(id) -> 'metadata' || jsonb_build_object('class_id', other)))),
  'PT400', 'payment_metadata_mismatch', '{"mismatch": "class_id"}', 'and for its class') from b, c;
select test.refused('select booking.confirm_class_booking(''ann'', other, test.paid_intent(id)) from c, b', 'PT400', 'payment_metadata_mismatch', '{"mismatch": "class_id"}',
  'the PaymentIntent for another class');
select test.refused(format('select pg_temp.confirm(%L)', changes), 'PT402', 'payment_not_succeeded', detail, what)
from (values
  ('not paid', '{"status": "requires_payment_method", "amount_received": 0}', '{"status": "requires_payment_method", "amount_received": 0}'::jsonb),
  ('on its way', '{"status": "processing", "amount_received": 0}', '{"status": "processing"}'),
  ('only held', '{"status": "requires_capture", "amount_received": 0}', '{"status": "requires_capture"}'),
  ('canceled', '{"status": "canceled", "amount_received": 0}', '{"status": "canceled"}'),
  ('paid in part', '{"amount_received": 2999}', '{"status": "succeeded", "amount_received": 2999}'),
  ('nothing received yet', '{"amount_received": null}', '{"status": "succeeded", "amount_received": 0}'),
  ('no status', '{"status": null}', '{"status": null}')) v (what, changes, detail);
select is(test.state(id), 'pending/pending', 'nothing of it was believed') from b;
select is_empty('select * from booking.stripe_commands', 'nothing is queued');
select is((select count(*) from booking.alerts), 0::bigint, 'and no alert is raised');
-- confirmed, once
grant select on c, b to booking_app; grant usage on schema test to booking_app;
create temp table intent as select test.paid_intent(id) as paid from b;
grant select on intent to booking_app;
set local role booking_app;
create temp table r as select x.* from c, intent, booking.confirm_class_booking(p_user_id => 'ann', p_class_id => class, p_intent => paid) x;
reset role;
select results_eq('select booking_id, status::text, was_changed, refusal from r', 'select id, ''confirmed'', true, null::text from b', 'paid: the seat is the student''s');
select is(test.state(id), 'confirmed/captured', 'confirmed and captured') from b;
select is(x.row, jsonb_build_object('booking_id', id, 'status', 'confirmed', 'was_changed', false, 'refusal', null), 'asked again: the identical booking')
from b, lateral (select to_jsonb(y) as row from c, booking.confirm_class_booking('ann', class, test.paid_intent(id)) y) x;
select is((select count(*) from booking.booking_events), 1::bigint, 'it was confirmed once');
select is((select count(*) from booking.transfers), 1::bigint, 'and booked once');
do $$ begin perform test.event('payment_intent.succeeded', test.paid_intent(id)) from b; end $$;
select is((select count(*) from booking.transfers), 1::bigint, 'the webhook that comes later changes nothing');
select test.set_clock(booking.clock() + interval '8 days');
do $$ begin perform booking.complete_past_bookings(); end $$;
select is(pg_temp.confirm(), 'completed f', 'after the class has taken place, too');
select test.set_clock(null);
-- the webhook was faster
do $$ begin update b set id = test.hold_seat(other, 'ann') from c; update c set class = other;
  perform test.event('charge.succeeded', test.charge(id, true)) from b; end $$;
select is(pg_temp.confirm(), 'confirmed f', 'the webhook was faster: the same booking, unchanged');
-- cancelled afterwards
do $$ begin perform booking.cancel_booking_transaction('ann', id) from b; end $$;
select is(pg_temp.confirm(), 'cancelled f already_processed', 'the student has cancelled since: no seat');
-- before the PaymentIntent was recorded
do $$ begin update c set class = test.make_class(1); update b set id = p.booking_id from c, booking.prepare_class_payment('ann', class) p; end $$;
select is(pg_temp.confirm(), 'confirmed t', 'a PaymentIntent whose recording was lost is known by its metadata');
select is(p.stripe_payment_intent_id, test.paid_intent(b.id) ->> 'id', 'and recorded') from b join booking.payments p on p.booking_id = b.id;
-- a hold that lapsed
create temp table l as select n, test.make_class(1) as class, null::uuid as id from unnest(array['free', 'full', 'begun', 'ended']) n;
do $$ begin update l set id = test.hold_seat(class, 'ann'); perform test.lapse(id) from l;
  perform test.hold_seat(class, 'bob') from l where n = 'full';
  perform test.run_commands(id) from l where n = 'ended';
  update booking.bookings set scheduled_at = booking.clock() where id = (select id from l where n = 'begun'); end $$;
create function pg_temp.confirm_lapsed() returns table (n text, id uuid, answer text, booking_id uuid) language plpgsql as $$
declare v record; r record;
begin
  for v in select * from l order by l.n loop
    select * into r from booking.confirm_class_booking('ann', v.class, test.paid_intent(v.id));
    n := v.n; id := v.id; answer := concat_ws(' ', r.status, r.was_changed, r.refusal); booking_id := r.booking_id;
    return next;
  end loop;
end $$;
create temp table r1 as select * from pg_temp.confirm_lapsed();
create temp table r2 as select * from pg_temp.confirm_lapsed();
select is(answer, case n when 'free' then 'confirmed t' else 'cancelled t capacity_full' end, 'paid after the hold lapsed: ' || n) from r1;
select is(r2.answer, case n when 'free' then 'confirmed f' else 'cancelled f capacity_full' end, 'asked again: ' || n) from r2;
select is(r2.booking_id, r1.booking_id, 'the identical booking: ' || r1.n) from r1 join r2 using (n);
select is(booking_id <> id, n = 'free', 'a new booking only where a seat was free: ' || n) from r1;
select is(test.state(booking_id), case n when 'free' then 'confirmed/captured' when 'ended' then 'cancelled/cancelled' else 'cancelled/captured' end, 'our books: ' || n) from r1;
select is((select array_agg(c.operation || ' ' || (c.params ->> 'amount')) from booking.stripe_commands c join booking.payments p on p.id = c.payment_id
           where p.booking_id = r1.booking_id and c.operation = 'create_refund'),
  case n when 'free' then null else array['create_refund 3000'] end, 'the refund of everything is queued once: ' || n) from r1;
-- refused commits nothing
select is(test.seats_taken(class), case when n in ('free', 'full') then 1 else 0 end, 'seats: ' || n) from l order by n;
select is((select count(*) from booking.alerts where kind = 'stray_payment_intent'), 1::bigint, 'one paid after its payment had ended: a person is told');
-- should be impossible
do $$ begin update c set class = test.make_class(1); update b set id = test.hold_seat(class, 'ann') from c; end $$;
create temp table broken as select id from b;
create or replace function booking.mark_confirmed(p_booking_id uuid, p_actor text, p_reason_code text, p_now timestamptz)
returns void language sql as 'select';
select test.refused('select pg_temp.confirm()', 'PT500', 'booking_confirm_failed', jsonb_build_object('booking_id', id), 'a paid booking that is not confirmed is an error') from broken;
select is(test.state(id), 'pending/pending', 'and nothing is written') from broken;
-- arguments
select test.refused(format('select booking.confirm_class_booking(%s)', args), sqlstate, code, detail, args)
from c, lateral (values (format('null, %L, ''{"id": "pi_1"}''', class), 'PT400', 'invalid_request', '{"field": "user_id"}'::jsonb),
  ('''ann'', null, ''{"id": "pi_1"}''', 'PT400', 'invalid_request', '{"field": "class_id"}'),
  (format('''ann'', %L, null', class), 'PT400', 'invalid_request', '{"field": "intent"}'), (format('''ann'', %L, ''[]''', class), 'PT400', 'invalid_request', '{"field": "intent"}'),
  (format('''ann'', %L, ''{}''', class), 'PT400', 'invalid_request', '{"field": "intent"}'),
  (format('''ann'', %L, ''{"id": "pi_1"}''', test.make_slot()), 'PT404', 'class_not_found', '{}'),
  (format('''ann'', %L, ''{"id": "pi_1"}''', '01890000-0000-7000-8000-000000000001'), 'PT404', 'class_not_found', '{"class_id": "01890000-0000-7000-8000-000000000001"}')) v (args, sqlstate, code, detail);
select * from finish();
