-- booking.get_reconciliation(): one run, what it saw and how it ended.
select * from no_plan();
select test.set_clock('2026-03-10 12:00Z');
create temp table b as select test.captured_booking() as id;
do $$ begin perform test.event('refund.created', test.refund(id, 100)) from b; end $$;
create temp table r as select booking.begin_reconciliation('2026-03-10 00:00Z', '2026-03-11 00:00Z', 'ann') as id;
do $$ begin perform booking.record_stripe_objects(r.id, test.but(test.at_stripe(b.id), 'payment_intent', '{"status": "canceled"}')) from r, b; end $$;
grant select on r to booking_dba;
set local role booking_dba;
select results_eq('select status::text, window_from, window_to, actor, payment_intents, charges, refunds, differences, pending, started_at, finished_at from r, booking.get_reconciliation(r.id)',
  $$ values ('running', '2026-03-10 00:00Z'::timestamptz, '2026-03-11 00:00Z'::timestamptz, 'ann', 1::bigint, 1::bigint, 1::bigint, null::int, null::int,
     '2026-03-10 12:00Z'::timestamptz, null::timestamptz) $$, 'while it runs: what it saw so far');
reset role;
select test.set_clock('2026-03-10 12:05Z');
do $$ begin perform booking.finish_reconciliation(id) from r; end $$;
select results_eq('select run_id, status::text, differences, pending, finished_at from r, booking.get_reconciliation(r.id)',
  $$ select id, 'finished', 1, 0, '2026-03-10 12:05Z'::timestamptz from r $$, 'then: how it ended');
select test.refused($$ select booking.get_reconciliation('01890000-0000-7000-8000-000000000001') $$, 'PT404', 'reconciliation_not_found',
  '{"run_id": "01890000-0000-7000-8000-000000000001"}', 'there is none with that id');
select * from finish();
