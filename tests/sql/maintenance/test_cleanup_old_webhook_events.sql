-- booking.cleanup_old_webhook_events(): events go to the archive, then for good; failed ones stay.
select * from no_plan();
create function pg_temp.received(p_id text, p_at timestamptz, p_type text default 'some.event') returns text language plpgsql as $$
begin
  perform test.set_clock(p_at);
  return test.event(p_type, '{"object": "x"}', p_id);
end
$$;
select is(pg_temp.received('evt_old', '2026-03-01 12:00Z'), 'ignored', 'an event comes in');
select is(pg_temp.received('evt_new', '2026-03-01 12:00:00.000001Z'), 'ignored', 'another a microsecond later');
create temp table b as select test.book() as id;
do $$ begin perform test.authorize(id) from b; end $$;
select is(pg_temp.received('evt_failed', '2026-02-01 12:00Z', 'payment_intent.succeeded'), 'ignored', 'what is not ours is ignored');
select is(test.event('charge.captured', test.charge(id, true) || '{"currency": "eur"}', 'evt_wrong', '2026-02-01 12:00Z'), 'failed', 'one fails') from b;
select test.set_clock('2026-03-08 12:00Z');
create temp table payload as select payload from booking.webhook_events where stripe_event_id = 'evt_old';
select results_eq('select archived, deleted from booking.cleanup_old_webhook_events()', 'values (2, 1)', 'at 7 days archived, at 30 days deleted');
select set_eq($$ select stripe_event_id from booking.webhook_events where stripe_event_id not like 'evt-%' $$, array['evt_new', 'evt_wrong'],
  'a younger one and a failed one stay active');
select results_eq($$ select stripe_event_id, event_type, status::text, payload, attempts, error, received_at from booking.webhook_events_archive $$,
  $$ select 'evt_old', 'some.event', 'ignored', payload, 1, null::jsonb, '2026-03-01 12:00Z'::timestamptz from payload $$, 'the archive has the whole event');
select is(pg_temp.received('evt_old', '2026-03-08 12:00Z'), 'duplicate', 'an archived event is not applied again');
select is(booking.is_webhook_processed('evt_old'), true, 'it counts as processed');
select test.set_clock('2026-03-31 11:59:59.999999Z');
select is((c).deleted, 0, 'a microsecond before its 30 days it is in the archive') from booking.cleanup_old_webhook_events() c;
select test.set_clock('2026-03-31 12:00Z');
select is((c).deleted, 1, 'at 30 days since it was received it is deleted') from booking.cleanup_old_webhook_events() c;
select is((select count(*) from booking.webhook_events where status = 'failed'), 1::bigint, 'the failed one is still there');
select results_eq($$ select archived, deleted from booking.cleanup_old_webhook_events('0', '0') $$, 'select 0, 2', 'no time at all: everything that was dealt with');
select test.refused(format('select * from booking.cleanup_old_webhook_events(%L, %L)', active, archive), 'PT400', 'invalid_request', jsonb_build_object('field', field),
  format('active %s, archive %s', active, archive))
from (values (null, '30 days', 'active'), ('-1 day', '30 days', 'active'), ('7 days', null, 'archive'), ('7 days', '6 days 23:59:59', 'archive')) v (active, archive, field);
select lives_ok($$ select * from booking.cleanup_old_webhook_events('7 days', '7 days') $$, 'deleted as soon as archived');
select * from finish();
