-- booking.finish_reconciliation(): the differences, by kind; what is on its way is kept apart; then the run is closed.
select * from no_plan();
update booking.settings set reports_foreign_payments = false; -- other systems share the account here
select test.set_clock('2026-03-10 12:00Z');
create temp table b (what text primary key, id uuid);
insert into b select what, test.book(test.make_slot('30 hours')) from unnest(array['agrees', 'amount', 'captured', 'refunded', 'status', 'gone', 'waits', 'incomplete']) what;
do $$ begin
  perform test.capture(id) from b where what not in ('status', 'waits');
  perform test.authorize(id) from b where what in ('status', 'waits');
  perform test.confirm(id) from b where what = 'waits';
end $$;
create function pg_temp.objects() returns jsonb language sql as $$
  select jsonb_agg(e) || '[{"id": "pi_orphan", "object": "payment_intent", "amount": 7, "status": "requires_capture", "currency": "eur",
      "metadata": {"payment_id": "019cd7c6-be7b-7a5c-8123-456789abcdef"}}]'
  from b, jsonb_array_elements(case what
    when 'amount' then test.but(test.at_stripe(id), 'payment_intent', '{"amount": 4000}')
    when 'captured' then test.but(test.at_stripe(id), 'payment_intent', '{"amount_received": 4000}')
    when 'refunded' then test.but(test.at_stripe(id), 'charge', '{"amount_refunded": 1000}')
    when 'status' then test.but(test.at_stripe(id), 'payment_intent', '{"status": "canceled"}')
    when 'waits' then test.but(test.at_stripe(id), 'payment_intent', '{"status": "canceled"}')
    when 'incomplete' then test.without(test.at_stripe(id), 'payment_intent')
    when 'gone' then '[]' else test.at_stripe(id) end) e $$;
create temp table r as select booking.begin_reconciliation('2026-03-10 00:00Z', '2026-03-11 00:00Z', 'ann') as id;
do $$ begin perform booking.record_stripe_objects(id, pg_temp.objects()) from r; end $$;
create function pg_temp.expected() returns table (payment_id uuid, stripe_id text, kind text, ours text, theirs text) language sql as $$
  select p.id, coalesce(p.stripe_payment_intent_id, 'pi_orphan'), v.kind, v.ours, v.theirs
  from (values ('amount', 'amount', '5000', '4000'), ('captured', 'captured', '5000', '4000'), (null, 'missing_here', null, 'requires_capture 7 eur'),
    ('gone', 'missing_at_stripe', 'captured 5000 usd', null), ('refunded', 'refunded', '0', '1000'), ('status', 'status', 'authorized', 'canceled')) v (what, kind, ours, theirs)
  left join b on b.what = v.what left join booking.payments p on p.booking_id = b.id $$;
grant select on r to booking_dba;
create temp table found (payment_id uuid, stripe_id text, kind text, ours text, theirs text);
grant insert on found to booking_dba;
set local role booking_dba;
insert into found select payment_id, stripe_id, kind, ours, theirs from r, booking.finish_reconciliation(p_run_id => r.id);
reset role;
select results_eq('select * from found order by kind', 'select * from pg_temp.expected() order by kind', 'each difference, once, by its kind');
select results_eq('select kind, waits_for from booking.reconciliation_differences where waits_for is not null', $$ values ('status', 'outbox') $$, 'what is on its way is kept apart');
select results_eq('select status::text, differences, pending, finished_at from booking.reconciliation_runs', $$ values ('finished', 6, 1, '2026-03-10 12:00Z'::timestamptz) $$, 'both are counted');
select results_eq('select kind, subject, detail from booking.alerts', format($$ values ('reconciliation_difference', 'stripe', '{"run_id": "%s", "differences":
  {"amount": 1, "captured": 1, "refunded": 1, "status": 1, "missing_here": 1, "missing_at_stripe": 1}}'::jsonb) $$, id), 'a person is told') from r;
select results_eq($$ select actor, subject, detail -> 'differences' ->> 'amount', detail ->> 'pending' from booking.audit_log where action = 'reconciliation.finished' $$,
  $$ select 'ann', id::text, '1', '1' from r $$, 'it is audited');

do $$ begin perform test.event('payment_intent.canceled', test.intent(id, 'canceled')) from b where what = 'status'; end $$;
select set_eq('select payment_id, stripe_id, kind, ours, theirs from r, booking.finish_reconciliation(r.id)', 'select * from found', 'finished again: the same, whatever came later');
select is((select count(*) from booking.audit_log where action = 'reconciliation.finished'), 1::bigint, 'and no second entry');
select is(times, 1, 'nor a second alert') from booking.alerts where kind = 'reconciliation_difference';

-- a run of what agrees
delete from b where what <> 'agrees';
select is_empty($$ select * from test.reconcile((select test.at_stripe(id) || '[{"id": "pi_of_others", "object": "payment_intent", "amount": 5, "status": "succeeded", "currency": "eur"}]' from b)) x
  where x.kind <> 'missing_at_stripe' $$, 'what agrees, and what is others'', is no difference');
create temp table q as select booking.begin_reconciliation('2026-02-01', '2026-02-02') as id;
select is_empty('select * from q, booking.finish_reconciliation(q.id)', 'a window without anything: no difference');
select results_eq('select differences, pending from booking.reconciliation_runs join q using (id)', 'values (0, 0)', 'is counted as none');
select is(detail ->> 'run_id' <> (select id::text from q), true, 'and alerts nobody') from booking.alerts where kind = 'reconciliation_difference';
select test.refused($$ select booking.finish_reconciliation('01890000-0000-7000-8000-000000000001') $$, 'PT404', 'reconciliation_not_found', '{}', 'no such run');
select is_empty('select * from booking.check_invariants()', 'all is sound');
select * from finish();
