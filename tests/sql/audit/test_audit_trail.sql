-- booking.audit_trail(): the audit log and the decisions on bookings in the order of time, by window, actor and subject.
select * from no_plan();
create temp table b as select n, test.book(test.make_slot('30 hours'), 'student') as id from generate_series(1, 2) n;
do $$ begin
  perform test.set_clock('2030-03-10 12:00Z');
  perform test.prepare(id) from b where n = 1;
  perform test.set_clock('2030-03-10 13:00Z');
  perform test.event('payment_intent.amount_capturable_updated', test.intent(id), 'evt_1') from b where n = 1;
  perform test.set_clock('2030-03-10 14:00Z');
  perform booking.confirm_booking_transaction(test.expert(id), id) from b where n = 1;
  perform booking.audit('note.written', 'n-1', 'ann', jsonb_build_object('payment_id', (select p.id from booking.payments p)));
  perform booking.cancel_booking_transaction('student', id) from b where n = 2;
end $$;
create function pg_temp.actions(p_from timestamptz default null, p_to timestamptz default null, p_actor text default null, p_subject text default null)
returns text[] language sql as $$ select array_agg(t.action order by t.n) from (select action, row_number() over () as n from booking.audit_trail(p_from, p_to, p_actor, p_subject)) t $$;
select is(pg_temp.actions(), '{payment.pending, payment.pending, payment.authorized, booking.confirmed, booking.cancelled, note.written}', 'everything, in order');
select is(pg_temp.actions('2030-03-10 13:00Z', '2030-03-10 14:00Z'), '{payment.authorized}', 'the window includes its beginning and not its end');
select is(pg_temp.actions(p_actor => 'ann'), '{note.written}', 'of one actor');
select is(pg_temp.actions(p_actor => 'student'), '{payment.pending, payment.pending, booking.cancelled}', 'of a student: decisions and payments');
select is(pg_temp.actions(p_subject => 'n-1'), '{note.written}', 'of one thing');
select is(pg_temp.actions(p_subject => id::text), '{payment.pending, payment.pending, payment.authorized, booking.confirmed, note.written}',
  'of a booking: with all of its payment') from b where n = 1;
select is(pg_temp.actions(p_subject => p.id::text), '{payment.pending, payment.pending, payment.authorized, booking.confirmed, note.written}',
  'of a payment: with its booking') from booking.payments p;
select is(pg_temp.actions(p_subject => id::text), '{booking.cancelled}', 'of a booking without a payment') from b where n = 2;
select is(pg_temp.actions(p_subject => 'nothing'), null, 'of nothing');
select is(pg_temp.actions(p_actor => 'student', p_subject => id::text), '{booking.cancelled}', 'filters add up') from b where n = 2;
select results_eq($$ select actor, subject, detail, created_at from booking.audit_trail(p_actor => 'student', p_from => '2030-03-10 14:00Z') $$,
  $$ select 'student', id::text, '{"from": "pending", "reason": "cancelled_by_student"}'::jsonb, '2030-03-10 14:00Z'::timestamptz from b where n = 2 $$,
  'a decision shows what it was before, and why');
select test.refused($$ select * from booking.audit_trail('2030-01-02', '2030-01-02') $$, 'PT400', 'invalid_request', '{"field": "to"}', 'an empty window');
select * from finish();
