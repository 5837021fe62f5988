-- booking.forbid_change(): what must stay, stays, also for the owner and for a superuser.
select * from no_plan();
create temp table b as select test.captured_booking('30 hours') as id;
do $$ begin perform test.event('refund.created', test.refund((select id from b), 100)); end $$;
grant usage on schema test to booking_owner;
grant select on b to booking_owner;
create temp table written (relation text, n bigint);
insert into written select 'booking_events', count(*) from booking.booking_events union all select 'transfers', count(*) from booking.transfers
  union all select 'bookings', count(*) from booking.bookings union all select 'slots', count(*) from booking.slots
  union all select 'payments', count(*) from booking.payments union all select 'refunds', count(*) from booking.refunds;
select is_empty($$ select relation from written where n = 0 $$, 'there is a row in every table that follows');

create temp table attempts (role text, statement text, relation text, operation text);
insert into attempts
select r.role, s.statement, s.relation, s.operation
from unnest(array['booking_owner', 'postgres']) r (role), (values
  ('update booking.booking_events set reason = ''x''', 'booking_events', 'update'),
  ('delete from booking.booking_events', 'booking_events', 'delete'),
  ('truncate booking.booking_events', 'booking_events', 'truncate'),
  ('update booking.transfers set amount = amount + 1', 'transfers', 'update'),
  ('delete from booking.transfers', 'transfers', 'delete'),
  ('truncate booking.transfers', 'transfers', 'truncate'),
  ('delete from booking.bookings', 'bookings', 'delete'),
  ('truncate booking.bookings cascade', 'bookings', 'truncate'),
  ('delete from booking.slots', 'slots', 'delete'),
  ('truncate booking.slots cascade', 'slots', 'truncate'),
  ('delete from booking.payments', 'payments', 'delete'),
  ('truncate booking.payments cascade', 'payments', 'truncate'),
  ('delete from booking.refunds', 'refunds', 'delete'),
  ('truncate booking.refunds', 'refunds', 'truncate')) s (statement, relation, operation);
create function pg_temp.as_role(p_role text, p_sql text) returns void language plpgsql as $$
begin
  execute format('set local role %I', p_role);
  execute p_sql;
end
$$;
select test.refused(format('select pg_temp.as_role(%L, %L)', role, statement), 'PT409', 'append_only',
  jsonb_build_object('table', relation, 'operation', operation), format('%s may not %s %s', role, operation, relation))
from attempts;
select results_eq($$ select relation, n from written order by 1 $$,
  $$ select 'booking_events', count(*) from booking.booking_events union all select 'transfers', count(*) from booking.transfers
     union all select 'bookings', count(*) from booking.bookings union all select 'slots', count(*) from booking.slots
     union all select 'payments', count(*) from booking.payments union all select 'refunds', count(*) from booking.refunds order by 1 $$,
  'nothing is gone');
select * from finish();
