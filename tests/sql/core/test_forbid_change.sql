-- booking.forbid_change(): what must stay, stays, also for the owner and for a superuser.
select * from no_plan();
create temp table b as select test.captured_booking('30 hours') as id;
do $$ begin perform test.event('refund.created', test.refund((select id from b), 100)); end $$;
do $$ begin perform test.ask((select id from b), 100); end $$;
do $$ begin perform test.reconcile('[]'); end $$;
do $$ begin perform test.open_order(); end $$;
do $$ begin perform test.issue((select id from b)); end $$;
grant usage on schema test to booking_owner;
grant select on b to booking_owner;
create temp table written (relation text, n bigint);
insert into written select 'booking_events', count(*) from booking.booking_events union all select 'transfers', count(*) from booking.transfers
  union all select 'bookings', count(*) from booking.bookings union all select 'slots', count(*) from booking.slots
  union all select 'payments', count(*) from booking.payments union all select 'refunds', count(*) from booking.refunds
     union all select 'refund_requests', count(*) from booking.refund_requests
  union all select 'audit_log', count(*) from booking.audit_log
  union all select 'reconciliation_runs', count(*) from booking.reconciliation_runs
  union all select 'reconciliation_differences', count(*) from booking.reconciliation_differences
  union all select 'products', count(*) from booking.products union all select 'orders', count(*) from booking.orders
  union all select 'invoices', count(*) from booking.invoices union all select 'invoice_versions', count(*) from booking.invoice_versions
  union all select 'invoice_series', count(*) from booking.invoice_series;
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
  ('update booking.audit_log set actor = ''x''', 'audit_log', 'update'),
  ('delete from booking.audit_log', 'audit_log', 'delete'),
  ('truncate booking.audit_log', 'audit_log', 'truncate'),
  ('update booking.reconciliation_differences set kind = ''amount''', 'reconciliation_differences', 'update'),
  ('delete from booking.reconciliation_differences', 'reconciliation_differences', 'delete'),
  ('truncate booking.reconciliation_differences', 'reconciliation_differences', 'truncate'),
  ('delete from booking.reconciliation_runs', 'reconciliation_runs', 'delete'),
  ('truncate booking.reconciliation_runs cascade', 'reconciliation_runs', 'truncate'),
  ('delete from booking.products', 'products', 'delete'),
  ('truncate booking.products', 'products', 'truncate'),
  ('delete from booking.orders', 'orders', 'delete'),
  ('truncate booking.orders', 'orders', 'truncate'),
  ('update booking.invoice_versions set note = ''x''', 'invoice_versions', 'update'),
  ('delete from booking.invoice_versions', 'invoice_versions', 'delete'),
  ('truncate booking.invoice_versions', 'invoice_versions', 'truncate'),
  ('delete from booking.invoices', 'invoices', 'delete'),
  ('truncate booking.invoices cascade', 'invoices', 'truncate'),
  ('delete from booking.invoice_series', 'invoice_series', 'delete'),
  ('truncate booking.invoice_series', 'invoice_series', 'truncate'),
  ('delete from booking.bookings', 'bookings', 'delete'),
  ('truncate booking.bookings cascade', 'bookings', 'truncate'),
  ('delete from booking.slots', 'slots', 'delete'),
  ('truncate booking.slots cascade', 'slots', 'truncate'),
  ('delete from booking.payments', 'payments', 'delete'),
  ('truncate booking.payments cascade', 'payments', 'truncate'),
  ('delete from booking.refunds', 'refunds', 'delete'),
  ('delete from booking.refund_requests', 'refund_requests', 'delete'),
  ('truncate booking.refund_requests cascade', 'refund_requests', 'truncate'),
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
     union all select 'payments', count(*) from booking.payments union all select 'refunds', count(*) from booking.refunds
     union all select 'refund_requests', count(*) from booking.refund_requests
     union all select 'audit_log', count(*) from booking.audit_log
     union all select 'reconciliation_runs', count(*) from booking.reconciliation_runs
     union all select 'reconciliation_differences', count(*) from booking.reconciliation_differences
     union all select 'products', count(*) from booking.products union all select 'orders', count(*) from booking.orders
  union all select 'invoices', count(*) from booking.invoices union all select 'invoice_versions', count(*) from booking.invoice_versions
  union all select 'invoice_series', count(*) from booking.invoice_series order by 1 $$,
  'nothing is gone');
select * from finish();
