-- booking.mark_confirmed(): status, audit and statistics of a confirmation, in one place.
select plan(4);
select test.set_clock('2026-03-10 12:59:59.5Z');
create temp table b as select test.book() as id;
delete from booking.stat_deltas;
do $$ begin perform booking.mark_confirmed(id, 'stripe', 'paid', '2026-03-10 13:00:00.75Z') from b; end $$;
select results_eq('select (b).status::text, (b).confirmed_at, (b).closed_at from (select test.booking(id) as b from b) x',
  $$ values ('confirmed', '2026-03-10 13:00:00.75Z'::timestamptz, null::timestamptz) $$, 'it is confirmed from that moment');
select results_eq('select booking_id, from_status::text, to_status::text, actor, reason, created_at from booking.booking_events',
  $$ select id, 'pending', 'confirmed', 'stripe', 'paid', '2026-03-10 13:00:00.75Z'::timestamptz from b $$, 'the audit trail says who and why');
select results_eq('select metric::text, date_trunc(''hour'', at, ''UTC''), quantity, amount from booking.stat_deltas',
  $$ values ('confirmed', '2026-03-10 12:00Z'::timestamptz, 1::bigint, 1250000::bigint) $$, 'counted in the hour of creation, with the microseconds it took');
select is(test.seats_taken((test.booking(id)).slot_id), 1, 'its seat stays taken') from b;
select * from finish();
