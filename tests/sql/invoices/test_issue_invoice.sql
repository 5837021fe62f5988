-- booking.issue_invoice(): the invoice of a captured payment, the same one ever after.
select * from no_plan();
select test.set_clock('2026-03-10 12:00Z');
create temp table t as select what, test.book() as b from (values ('pending'), ('authorized'), ('captured'), ('refunded'), ('cancelled')) v (what);
do $$ begin
  perform test.prepare(b) from t where what = 'pending';
  perform test.authorize(b) from t where what in ('authorized', 'cancelled');
  perform test.capture(b) from t where what in ('captured', 'refunded');
  perform test.event('refund.created', test.refund(b, 2000)), test.event('refund.created', test.refund(b, 3000)) from t where what = 'refunded';
  perform booking.confirm_booking_transaction(test.expert(b), b, 'decline') from t where what = 'cancelled';
  perform test.run_commands(b) from t where what = 'cancelled';
end $$;
select test.refused(format('select * from booking.issue_invoice(%L)', (test.payment(b)).id), 'PT409', 'payment_not_captured',
  jsonb_build_object('payment_id', (test.payment(b)).id, 'payment_status', (test.payment(b)).status), what || ': nothing was captured')
from t where what in ('pending', 'authorized', 'cancelled');
select test.refused(format('select * from booking.issue_invoice(%L)', id), 'PT404', 'payment_not_found', jsonb_build_object('payment_id', id), 'no such payment')
from unnest(array['01890000-0000-7000-8000-000000000001'::uuid, null]) id;
create temp table i as select x.* from t, booking.issue_invoice((test.payment(b)).id) x where what = 'captured';
select is(number || ' ' || version, 'INV-2026-000001 1', 'refusals took no number') from i;
select is((test.invoice(b)).id, invoice_id, 'its id') from t, i where what = 'captured';
select results_eq($$ select x.* from t, booking.issue_invoice((test.payment(b)).id) x where what = 'captured' $$, 'select * from i', 'again: the same');
do $$ begin perform booking.correct_invoice('ann', invoice_id, '{"name": "Zoë"}', 'a typo') from i; end $$;
select is(number || ' ' || x.version, 'INV-2026-000001 2', 'in its newest version') from t, booking.issue_invoice((test.payment(b)).id) x where what = 'captured';
select is(number, 'INV-2026-000002', 'of a payment that was refunded, too') from t, booking.issue_invoice((test.payment(b)).id) x where what = 'refunded';
select is(test.papers(b), '{INV credited v1 5000+0=5000,CN issued v1 5000+0=5000}', 'which gets its credit note at once') from t where what = 'refunded';
select is_empty('select * from booking.check_invariants()', 'the books are in order');
select * from finish();
