-- Every index answers a question that is asked often, and those questions use it.
select * from no_plan();
create function pg_temp.plan_of(p_sql text) returns text language plpgsql as $$
declare
  v_line text;
  v_plan text := '';
begin
  set local enable_seqscan = off;
  set local enable_bitmapscan = off;
  for v_line in execute 'explain (costs off) ' || p_sql loop
    v_plan := v_plan || v_line || e'\n';
  end loop;
  return v_plan;
end
$$;
create function pg_temp.plan_of_window(p_relation text) returns text language plpgsql as $$
declare
  v_line text;
  v_plan text := '';
begin
  set local enable_seqscan = off;
  for v_line in execute format('explain (costs off) select from booking.%I a where a.created_at >= now() - interval ''1 hour''', p_relation) loop
    v_plan := v_plan || v_line || e'\n';
  end loop;
  return v_plan;
end
$$;
create temp table asked (index_name text, question text);
insert into asked values
  ('slot_seats_open', 'select distinct o.starts_at, o.slot_id from booking.slot_seats o where o.is_open and (o.starts_at, o.slot_id) > (now(), ''019cd7c6-be7b-7a5c-8123-456789abcdef''::uuid)
     and o.starts_at < now() + interval ''1 day'' order by o.starts_at, o.slot_id limit 100'),
  ('slot_seats_open_by_expert', 'select distinct o.starts_at, o.slot_id from booking.slot_seats o where o.is_open and o.expert_id = ''x''
     and (o.starts_at, o.slot_id) > (now(), ''019cd7c6-be7b-7a5c-8123-456789abcdef''::uuid) and o.starts_at < now() + interval ''1 day'' order by o.starts_at, o.slot_id limit 100'),
  ('slot_seats_pkey', 'update booking.slot_seats q set taken = q.taken + 1 where q.slot_id = ''019cd7c6-be7b-7a5c-8123-456789abcdef''::uuid and q.part = 0 and q.parts = 1 and q.taken < q.capacity'),
  ('slots_by_start', 'select s.id from booking.slots s where s.starts_at > now() and s.ends_at > now()'),
  ('slots_of_classes', 'select count(*) from booking.slots c where c.parts > 1 and c.starts_at > now()'),
  ('sessions_by_expert', 'select x.id from booking.sessions x where x.expert_id = ''x'' order by x.id'),
  ('bookings_one_live_per_student', 'select b.id from booking.bookings b where b.slot_id = ''019cd7c6-be7b-7a5c-8123-456789abcdef''::uuid and b.student_id = ''x'' and b.status in (''pending'', ''confirmed'')'),
  ('bookings_by_student', 'select b.id from booking.bookings b where b.student_id = ''x'' and b.id < ''019cd7c6-be7b-7a5c-8123-456789abcdef''::uuid order by b.id desc limit 50'),
  ('bookings_by_expert', 'select b.id from booking.bookings b where b.expert_id = ''x'' and b.id < ''019cd7c6-be7b-7a5c-8123-456789abcdef''::uuid order by b.id desc limit 50'),
  ('bookings_due', 'select b.id from booking.bookings b where b.status = ''pending'' and b.closed_at is null
      and case when b.confirmed_at is not null then b.ends_at else b.created_at end <= now()
    order by case when b.confirmed_at is not null then b.ends_at else b.created_at end limit 100'),
  ('bookings_due', 'select b.id from booking.bookings b where b.status = ''confirmed'' and b.ends_at <= now() and b.closed_at is null
      and case when b.confirmed_at is not null then b.ends_at else b.created_at end <= now()
    order by case when b.confirmed_at is not null then b.ends_at else b.created_at end limit 100'),
  ('bookings_to_scrub', 'select b.id from booking.bookings b where b.closed_at <= now() and b.scrubbed_at is null order by b.closed_at limit 100'),
  ('stat_hours_by_hour', 'select h.metric, h.quantity from booking.stat_hours h where h.hour >= now() and h.hour < now() + interval ''5 hours'''),
  ('stat_periods_pkey', 'select p.metric, p.quantity from booking.stat_periods p where p.period = ''month'' and p.begins_at >= ''-infinity'' and p.begins_at < ''infinity'''),
  ('client_idempotency_by_expiry', 'select k.user_id from booking.client_idempotency k where k.expires_at <= now() order by k.expires_at limit 10000'),
  ('refunds_by_payment', 'select f.amount from booking.refunds f where f.payment_id = ''019cd7c6-be7b-7a5c-8123-456789abcdef''::uuid'),
  ('refund_requests_by_student', 'select q.id from booking.refund_requests q where q.student_id = ''x'' and q.id < ''019cd7c6-be7b-7a5c-8123-456789abcdef''::uuid order by q.id desc limit 50'),
  ('refund_requests_by_status', 'select q.id from booking.refund_requests q where q.status = ''pending'' and q.id < ''019cd7c6-be7b-7a5c-8123-456789abcdef''::uuid order by q.id desc limit 50'),
  ('refund_requests_by_payment', 'select q.amount from booking.refund_requests q where q.payment_id = ''019cd7c6-be7b-7a5c-8123-456789abcdef''::uuid and q.status = ''approved'''),
  ('refund_requests_to_scrub', 'select q.id from booking.refund_requests q where (q.reason is not null or q.note is not null) and coalesce(q.decided_at, q.created_at) <= now() order by coalesce(q.decided_at, q.created_at) limit 1000'),
  ('disputes_by_payment', 'select d.status from booking.disputes d where d.payment_id = ''019cd7c6-be7b-7a5c-8123-456789abcdef''::uuid'),
  ('stripe_commands_one_open', 'select c.id from booking.stripe_commands c where c.stripe_id = ''x'' and c.status in (''pending'', ''running'')'),
  ('stripe_commands_due', 'select c.id from booking.stripe_commands c where c.status in (''pending'', ''running'') and c.run_at <= now() order by c.run_at limit 10'),
  ('stripe_commands_dead', 'select count(*) from booking.stripe_commands c where c.status = ''dead'''),
  ('stripe_commands_by_payment', 'select c.id from booking.stripe_commands c where c.payment_id = ''019cd7c6-be7b-7a5c-8123-456789abcdef''::uuid'),
  ('audit_log_by_subject', 'select a.id from booking.audit_log a where a.subject = ''x'''),
  ('audit_log_by_payment', 'select a.id from booking.audit_log a where a.payment_id = ''019cd7c6-be7b-7a5c-8123-456789abcdef''::uuid'),
  ('stripe_commands_by_order', 'select c.id from booking.stripe_commands c where c.order_id = ''019cd7c6-be7b-7a5c-8123-456789abcdef''::uuid'),
  ('orders_unpaid', 'select o.id from booking.orders o where o.user_id = ''x'' and o.product_id = ''y'' and o.status = ''pending'' order by o.id'),
  ('orders_superseded', 'select o.id from booking.orders o where o.superseded_by = ''019cd7c6-be7b-7a5c-8123-456789abcdef''::uuid'),
  ('orders_without_session', 'select o.id from booking.orders o where o.status = ''pending'' and o.stripe_session_id is null and o.created_at <= now() order by o.created_at limit 100'),
  ('orders_by_time', 'select o.status from booking.orders o where o.created_at >= now() and o.created_at < now() + interval ''1 day'''),
  ('concurrency_locks_by_expiry', 'select l.lock_key from booking.concurrency_locks l where l.expires_at <= now() order by l.expires_at limit 10000'),
  ('checkout_events_by_time', 'select e.id from booking.checkout_events e where e.happened_at <= now() order by e.happened_at limit 10000'),
  ('reconciliation_items_by_intent', 'select from booking.reconciliation_items i where i.run_id = ''019cd7c6-be7b-7a5c-8123-456789abcdef''::uuid and i.payment_intent_id = ''x'''),
  ('alerts_one_open', 'select a.id from booking.alerts a where a.kind = ''x'' and a.subject = ''y'' and a.resolved_at is null'),
  ('invoices_one_per_payment', 'select i.id from booking.invoices i where i.payment_id = ''019cd7c6-be7b-7a5c-8123-456789abcdef''::uuid and i.kind = ''invoice'''),
  ('invoices_credit_notes', 'select sum(n.gross) from booking.invoices n where n.payment_id = ''019cd7c6-be7b-7a5c-8123-456789abcdef''::uuid and n.kind = ''credit_note'''),
  ('invoices_by_time', 'select i.id from booking.invoices i where (i.issued_at, i.id) < (now(), ''019cd7c6-be7b-7a5c-8123-456789abcdef''::uuid) and i.issued_at >= ''-infinity'' order by i.issued_at desc, i.id desc limit 50'),
  ('invoices_by_student', 'select i.id from booking.invoices i where i.student_id = ''x'' and (i.issued_at, i.id) < (now(), ''019cd7c6-be7b-7a5c-8123-456789abcdef''::uuid) order by i.issued_at desc, i.id desc limit 50'),
  ('invoices_by_expert', 'select i.id from booking.invoices i where i.expert_id = ''x'' and (i.issued_at, i.id) < (now(), ''019cd7c6-be7b-7a5c-8123-456789abcdef''::uuid) order by i.issued_at desc, i.id desc limit 50'),
  ('invoices_by_status', 'select i.id from booking.invoices i where i.status = ''credited'' and (i.issued_at, i.id) < (now(), ''019cd7c6-be7b-7a5c-8123-456789abcdef''::uuid) order by i.issued_at desc, i.id desc limit 50'),
  ('webhook_events_by_time', 'select w.stripe_event_id from booking.webhook_events w where w.received_at <= now() and w.status <> ''failed'' order by w.received_at limit 10000'),
  ('webhook_events_failed', 'select w.stripe_event_id from booking.webhook_events w where w.status = ''failed'' order by w.attempts, w.received_at limit 100'),
  ('webhook_events_archive_by_time', 'select a.stripe_event_id from booking.webhook_events_archive a where a.received_at <= now() order by a.received_at limit 10000');
select matches(pg_temp.plan_of(question), '(Index|Index Only) Scan( Backward)? using ' || index_name || '\M', index_name || ': ' || left(question, 60)) from asked;
select doesnt_match(pg_temp.plan_of(question), '->  (Sort|HashAggregate)', index_name || ' stops after a page, without a sort of everything')
from asked where index_name in ('slot_seats_open', 'slot_seats_open_by_expert', 'bookings_by_student', 'bookings_by_expert', 'bookings_due', 'refund_requests_by_student', 'refund_requests_by_status', 'refund_requests_to_scrub', 'stripe_commands_due', 'webhook_events_failed',
  'invoices_by_time', 'invoices_by_student', 'invoices_by_expert', 'invoices_by_status');
select set_eq($$ select c.relname::text from pg_index i join pg_class c on c.oid = i.indexrelid
    where c.relnamespace = 'booking'::regnamespace and not i.indisprimary and not exists (select from pg_constraint k where k.conindid = c.oid) $$,
  $$ select index_name from asked where index_name not like '%_pkey' union values ('audit_log_by_time'), ('booking_events_by_time'), ('payments_by_time') $$, 'there is no index without a question');
set local enable_indexscan = off;
set local enable_bitmapscan = on;
select matches(pg_temp.plan_of_window(relation), 'Bitmap Index Scan on ' || relation || '_by_time', 'a window of time uses the block ranges of ' || relation)
from unnest(array['audit_log', 'booking_events', 'payments']) relation;
select is_empty($$ select i.indexrelid::regclass from pg_index i join pg_class c on c.oid = i.indrelid where c.relnamespace = 'booking'::regnamespace and not i.indisvalid $$,
  'all are valid');
select is((select count(*) from pg_index i where i.indrelid = 'booking.stat_deltas'::regclass), 0::bigint, 'the lines of the statistics have none: they are only appended');
-- what has finished is passed by whoever looks for what is due, until it is vacuumed away: not a fifth of a large table
select ok('vacuum_index_cleanup=on' = any (c.reloptions) and (select substring(o, '=(.*)')::numeric from unnest(c.reloptions) o
  where o like 'autovacuum_vacuum_scale_factor=%') <= 0.02, format('%s is vacuumed early, with its indexes', c.oid::regclass))
from pg_class c where c.oid in ('booking.stripe_commands'::regclass, 'booking.bookings'::regclass);
select * from finish();
