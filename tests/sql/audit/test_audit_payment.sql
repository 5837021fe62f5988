-- booking.audit_payment(): a payment's step is in the audit log, whoever made it. (The way of one: test_audit_status.)
select * from no_plan();
select test.set_clock('2026-03-10 12:00Z');
create temp table b as select test.book() as id;
do $$ begin perform test.prepare(id) from b; end $$;
create function pg_temp.payment() returns booking.payments language sql as $$ select p from booking.payments p, b where p.booking_id = b.id $$;
create temp table seen as select coalesce(max(a.id), 0) as id from booking.audit_log a;
create function pg_temp.rows() returns table (created_at timestamptz, actor text, action text, subject text, payment_id uuid, request_id text, detail jsonb)
language sql as $$ select a.created_at, a.actor, a.action, a.subject, a.payment_id, a.request_id, a.detail from booking.audit_log a, seen s where a.id > s.id order by a.id $$;
do $$ begin perform set_config('booking.actor', 'ann', true), set_config('booking.request_id', 'req-1', true); end $$;
update booking.payments set status = 'authorized' where booking_id = (select id from b);
select results_eq('select * from pg_temp.rows()', $$ select '2026-03-10 12:00Z'::timestamptz, 'ann', 'payment.authorized', (pg_temp.payment()).id::text, null::uuid, 'req-1',
  jsonb_build_object('booking_id', b.id, 'amount_captured', 0, 'amount_refunded', 0, 'currency', 'usd', 'stripe_payment_intent_id', test.intent_id(b.id), 'from', 'pending') from b $$,
  'who, what, when, under which request, and the status before');
update booking.payments set status = 'captured', amount_captured = 4000 where booking_id = (select id from b);
update booking.payments set amount_captured = 5000 where booking_id = (select id from b);
update booking.payments set amount_refunded = 5 where booking_id = (select id from b);
select is((select count(*) from pg_temp.rows()), 4::bigint, 'an amount alone is a step, too');
do $$ begin perform set_config('booking.actor', '', true), set_config('booking.request_id', '', true); end $$;
update booking.payments set status = 'partially_refunded' where booking_id = (select id from b);
select results_eq('select actor, request_id from pg_temp.rows() offset 4', $$ select session_user::text collate "default", null::text $$, 'where nobody is known, the login; without a request none');
update booking.payments set status = status, amount_captured = amount_captured, stripe_charge_id = 'ch_1' where booking_id = (select id from b);
select is((select count(*) from pg_temp.rows()), 5::bigint, 'what stays leaves no row');
create temp table n as select test.book() as id;
do $$ begin perform booking.prepare_payment_intent(test.student(id), id) from n; end $$;
update booking.payments set stripe_payment_intent_id = 'pi_new' where booking_id = (select id from n);
update booking.payments set status = 'failed' where booking_id = (select id from n);
select results_eq($$ select action, detail ->> 'stripe_payment_intent_id' from pg_temp.rows() offset 6 $$,
  $$ values ('payment.pending', 'pi_new'), ('payment.failed', 'pi_new') $$, 'a PaymentIntent that came to be known is one');
select * from finish();
