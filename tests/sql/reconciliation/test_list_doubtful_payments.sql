-- booking.list_doubtful_payments(): what to ask Stripe for once more, one by one.
select * from no_plan();
update booking.settings set reports_foreign_payments = false; -- other systems share the account here
select test.set_clock('2026-03-10 12:00Z');
create temp table b (what text primary key, id uuid);
insert into b select what, test.book(test.make_slot('30 hours')) from unnest(array['agrees', 'differs', 'not shown', 'no charge', 'charge only', 'waits', 'changes']) what;
do $$ begin
  perform test.capture(id) from b where what <> 'waits';
  perform test.authorize(id), test.confirm(id) from b where what = 'waits';
end $$;
create temp table r as select booking.begin_reconciliation('2026-03-10 00:00Z', '2026-03-11 00:00Z') as id;
create function pg_temp.shown(p_what text) returns void language sql as $$
  select booking.record_stripe_objects((select id from r), case what
    when 'differs' then test.but(test.at_stripe(id), 'payment_intent', '{"amount_received": 4000}')
    when 'no charge' then test.without(test.at_stripe(id), 'charge')
    when 'charge only' then test.without(test.at_stripe(id), 'payment_intent')
    when 'waits' then test.but(test.at_stripe(id), 'payment_intent', '{"status": "succeeded", "amount_received": 5000, "latest_charge": null}')
                      || jsonb_build_array(test.charge(id, true))
    else test.at_stripe(id) end) from b where what = p_what and what <> 'not shown' $$;
do $$ begin
  perform pg_temp.shown(what) from b;
  perform booking.record_stripe_objects(id, '[{"id": "pi_of_others", "object": "payment_intent", "amount": 5, "status": "succeeded", "currency": "eur"},
    {"id": "pi_orphan", "object": "payment_intent", "amount": 5, "status": "succeeded", "currency": "eur", "metadata": {"payment_id": "019cd7c6-be7b-7a5c-8123-456789abcdef"}}]') from r;
end $$;
create function pg_temp.doubtful() returns text[] language sql as $$
  select array_agg(coalesce((select what from b where test.intent_id(b.id) = d.stripe_id), d.stripe_id) order by 1)
  from (select stripe_id from booking.list_doubtful_payments((select id from r)) offset 0) d $$;
grant select on r, b to booking_app;
set local role booking_app;
select is((select count(*) from r, booking.list_doubtful_payments(p_run_id => r.id)), 5::bigint, 'the server may ask');
reset role;
select bag_eq('select unnest(pg_temp.doubtful())', array['charge only', 'differs', 'no charge', 'not shown', 'pi_orphan'],
  'what differs, what was shown in part or not at all; not what agrees, what the outbox is at, or what is others''');
select is(asked_at, '2026-03-10 12:00Z'::timestamptz, 'it is noted when') from booking.reconciliation_runs;
select test.set_clock('2026-03-10 12:01Z');
do $$ begin perform booking.record_stripe_objects((select id from r), test.at_stripe(id)) from b where what in ('charge only', 'no charge', 'not shown'); end $$;
select bag_eq('select unnest(pg_temp.doubtful())', array['differs', 'pi_orphan'], 'what was asked for and agrees is doubtful no more');
select is(asked_at, '2026-03-10 12:01Z'::timestamptz, 'each time') from booking.reconciliation_runs;
select test.set_clock('2026-03-10 12:02Z');
do $$ begin perform test.event('refund.created', test.refund(id, 100)) from b where what = 'changes'; end $$;
select bag_eq('select unnest(pg_temp.doubtful())', array['differs', 'pi_orphan', 'changes'], 'what changed here since it was seen there is to be asked for, too');
select test.refused($$ select booking.list_doubtful_payments('01890000-0000-7000-8000-000000000001') $$, 'PT404', 'reconciliation_not_found', '{}', 'no such run');
do $$ begin perform booking.finish_reconciliation(id) from r; end $$;
select test.refused('select pg_temp.doubtful()', 'PT409', 'reconciliation_finished', '{}', 'a finished run is closed');
select * from finish();
