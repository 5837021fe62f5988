-- booking.get_refund_request(): one request with the state of its payment.
select plan(4);
create temp table b as select test.captured_booking() as id;
create temp table q as select test.ask(id, 700, 'words') as id from b;
do $$ begin perform test.run_command(test.approve(id)) from q; end $$;
select results_eq($$ select g.request_id, g.booking_id, g.payment_id, g.student_id, g.amount, g.currency, g.reason, g.status::text, g.decided_by, g.note, g.beyond_policy,
    g.payment_status::text, g.amount_captured, g.amount_refunded from q, booking.get_refund_request(q.id) g $$,
  $$ select q.id, b.id, (test.payment(b.id)).id, test.student(b.id), 700::bigint, 'usd', 'words', 'refunded', 'admin', null::text, false, 'partially_refunded', 5000::bigint, 700::bigint from b, q $$,
  'as it is now');
select is((select command_id from booking.get_refund_request(id)), (test.request(id)).command_id, 'with its command') from q;
select test.refused($$ select * from booking.get_refund_request('01890000-0000-7000-8000-000000000001') $$, 'PT404', 'refund_request_not_found',
  '{"request_id": "01890000-0000-7000-8000-000000000001"}', 'no such request');
select test.refused($$ select * from booking.get_refund_request(null) $$, 'PT404', 'refund_request_not_found', '{"request_id": null}', 'none');
select * from finish();
