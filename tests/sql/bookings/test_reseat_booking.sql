-- booking.reseat_booking(): a student whose hold had lapsed is seated again once the money is there, or nothing happens.
select * from no_plan();
-- each hold lapsed, and its money arrived while the class was full: captured, to be refunded
create temp table b as select n, test.make_class(1) as class, null::uuid as id
from unnest(array['free', 'full', 'begun', 'partly paid', 'refunded at the charge', 'refunded', 'refund failed', 'disputed', 'dispute won',
  'another booking']) n;
do $$ begin
  update b set id = test.hold_seat(class, 'ann');
  perform test.lapse(id) from b;
  update booking.slot_seats q set taken = capacity from b where q.slot_id = class;
  perform test.event('payment_intent.succeeded', test.intent(id, 'succeeded') || case n when 'partly paid' then '{"amount_received": 2999}' else '{}' end::jsonb) from b;
  update booking.slot_seats q set taken = 0 from b where q.slot_id = class and n <> 'full';
  update booking.payments p set charge_refunded = 1 from b where p.booking_id = b.id and n = 'refunded at the charge';
  insert into booking.refunds (stripe_refund_id, payment_id, amount, currency, status)
  select 're_' || n, (test.payment(id)).id, 1, 'usd', case n when 'refunded' then 'succeeded' else 'failed' end::booking.refund_status from b where n like 'refund%d';
  insert into booking.disputes (stripe_dispute_id, payment_id, amount, currency, status, stripe_seen_at)
  select 'dp_' || n, (test.payment(id)).id, 3000, 'usd', case n when 'dispute won' then 'won' else 'needs_response' end, now() from b where n like 'disput%';
  perform test.book(class, 'ann') from b where n = 'another booking';
  update booking.bookings set scheduled_at = booking.clock() where id = (select id from b where n = 'begun');
end $$;
select is(test.state(id), 'cancelled/captured', 'the money of a lapsed hold: ' || n) from b;
create temp table r as select b.n, b.class, b.id as old, x.* from b left join lateral booking.reseat_booking(test.booking(b.id)) x on true;
select is(id is not null, n in ('free', 'refund failed', 'dispute won'), 'seated again: ' || n) from r order by n;
select is(test.seats_taken(class), case when n in ('free', 'refund failed', 'dispute won', 'full', 'another booking') then 1 else 0 end, 'seats: ' || n) from r order by n;
select is((select count(*) from booking.bookings x where x.slot_id = class and x.status in ('pending', 'confirmed')),
  case when n in ('free', 'refund failed', 'dispute won', 'another booking') then 1 else 0 end::bigint, 'live bookings: ' || n) from r order by n;

-- the new booking
create temp table f as select * from r where n = 'free';
select is(status::text, 'confirmed', 'the new booking is confirmed') from f;
select results_eq('select x.slot_id, x.session_id, x.student_id, x.expert_id, x.payment_id, x.amount, x.currency, x.scheduled_at, x.ends_at, x.confirmation, x.details
    from booking.bookings x, f where x.id = f.id',
  'select x.slot_id, x.session_id, x.student_id, x.expert_id, x.payment_id, x.amount, x.currency, x.scheduled_at, x.ends_at, x.confirmation, x.details
    from booking.bookings x, f where x.id = f.old', 'it is what the old one was');
select is((test.booking(old)).status::text || (test.booking(old)).cancellation_reason, 'cancelledexpired', 'the old one stays as it was') from f;
select is((test.payment(id)).id, payment_id, 'the payment has moved on') from f;
select is(test.payment(old), null, 'and is the old one''s no more') from f;
select is(booking.shard_of(id), booking.shard_of(old), 'it lives in the same shard') from f;
select results_eq('select e.from_status::text, e.to_status::text, e.actor, e.reason from booking.booking_events e, f where e.booking_id = f.id',
  $$ values ('pending', 'confirmed', 'stripe', 'reseated') $$, 'its trail says how it came about');
select results_eq('select a.detail from booking.audit_log a, f where a.action = ''booking.reseated'' and a.subject = f.id::text',
  $$ select jsonb_build_object('payment_id', payment_id, 'lapsed_booking_id', old, 'amount', 3000, 'currency', 'usd') from f $$, 'the audit log too');
select ok(confirmed_at >= created_at, 'it was confirmed after it was made') from f;
-- once is enough
select is((booking.reseat_booking(test.booking(old))).id, null, 'the old booking has no payment any more') from f;
select is((booking.reseat_booking(test.booking(id))).id, null, 'a live booking is not seated again') from f;
select is((booking.reseat_booking(null)).id, null, 'no booking');
select * from finish();
