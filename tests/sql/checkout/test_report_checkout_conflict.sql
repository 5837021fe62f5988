-- booking.report_checkout_conflict(): a request that was turned away is counted.
select plan(1);
select test.set_clock('2026-03-10 12:00Z');
set local role booking_app;
select booking.report_checkout_conflict();
reset role;
select results_eq('select kind, held, happened_at from booking.checkout_events', $$ values ('refused', null::interval, '2026-03-10 12:00Z'::timestamptz) $$, 'when it happened');
select * from finish();
