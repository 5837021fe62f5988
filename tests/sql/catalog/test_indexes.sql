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
create temp table asked (index_name text, question text);
insert into asked values
  ('slot_seats_open', 'select distinct o.starts_at, o.slot_id from booking.slot_seats o where o.is_open and (o.starts_at, o.slot_id) > (now(), ''019cd7c6-be7b-7a5c-8123-456789abcdef''::uuid)
     and o.starts_at < now() + interval ''1 day'' order by o.starts_at, o.slot_id limit 100'),
  ('slot_seats_open_by_expert', 'select distinct o.starts_at, o.slot_id from booking.slot_seats o where o.is_open and o.expert_id = ''x''
     and (o.starts_at, o.slot_id) > (now(), ''019cd7c6-be7b-7a5c-8123-456789abcdef''::uuid) and o.starts_at < now() + interval ''1 day'' order by o.starts_at, o.slot_id limit 100'),
  ('slot_seats_pkey', 'update booking.slot_seats q set taken = q.taken + 1 where q.slot_id = ''019cd7c6-be7b-7a5c-8123-456789abcdef''::uuid and q.part = 0 and q.taken < q.capacity'),
  ('slots_by_start', 'select s.id from booking.slots s where s.starts_at > now() and s.ends_at > now()'),
  ('slots_of_classes', 'select count(*) from booking.slots c where c.parts > 1 and c.starts_at > now()'),
  ('sessions_by_expert', 'select x.id from booking.sessions x where x.expert_id = ''x'' order by x.id'),
  ('bookings_one_live_per_student', 'select b.id from booking.bookings b where b.slot_id = ''019cd7c6-be7b-7a5c-8123-456789abcdef''::uuid and b.student_id = ''x'' and b.status in (''pending'', ''confirmed'')'),
  ('bookings_by_student', 'select b.id from booking.bookings b where b.student_id = ''x'' and b.id < ''019cd7c6-be7b-7a5c-8123-456789abcdef''::uuid order by b.id desc limit 50'),
  ('bookings_by_expert', 'select b.id from booking.bookings b where b.expert_id = ''x'' and b.id < ''019cd7c6-be7b-7a5c-8123-456789abcdef''::uuid order by b.id desc limit 50'),
  ('bookings_pending', 'select b.id from booking.bookings b where b.status = ''pending'' and b.created_at <= now() order by b.created_at limit 100'),
  ('bookings_confirmed', 'select b.id from booking.bookings b where b.status = ''confirmed'' and b.ends_at <= now() order by b.ends_at limit 100'),
  ('bookings_to_scrub', 'select b.id from booking.bookings b where b.closed_at <= now() and b.scrubbed_at is null order by b.closed_at limit 100'),
  ('client_idempotency_by_expiry', 'select k.user_id from booking.client_idempotency k where k.expires_at <= now() order by k.expires_at limit 10000'),
  ('refunds_by_payment', 'select f.amount from booking.refunds f where f.payment_id = ''019cd7c6-be7b-7a5c-8123-456789abcdef''::uuid'),
  ('disputes_by_payment', 'select d.status from booking.disputes d where d.payment_id = ''019cd7c6-be7b-7a5c-8123-456789abcdef''::uuid'),
  ('stripe_commands_one_open', 'select c.id from booking.stripe_commands c where c.stripe_id = ''x'' and c.status in (''pending'', ''running'')'),
  ('stripe_commands_due', 'select c.id from booking.stripe_commands c where c.status in (''pending'', ''running'') and c.run_at <= now() order by c.run_at limit 10'),
  ('stripe_commands_dead', 'select count(*) from booking.stripe_commands c where c.status = ''dead'''),
  ('stripe_commands_by_payment', 'select c.id from booking.stripe_commands c where c.payment_id = ''019cd7c6-be7b-7a5c-8123-456789abcdef''::uuid'),
  ('alerts_one_open', 'select a.id from booking.alerts a where a.kind = ''x'' and a.subject = ''y'' and a.resolved_at is null'),
  ('webhook_events_by_time', 'select w.stripe_event_id from booking.webhook_events w where w.received_at <= now() and w.status <> ''failed'' order by w.received_at limit 10000'),
  ('webhook_events_failed', 'select w.stripe_event_id from booking.webhook_events w where w.status = ''failed'' order by w.attempts, w.received_at limit 100'),
  ('webhook_events_archive_by_time', 'select a.stripe_event_id from booking.webhook_events_archive a where a.received_at <= now() order by a.received_at limit 10000');
select matches(pg_temp.plan_of(question), '(Index|Index Only) Scan( Backward)? using ' || index_name || '\M', index_name || ': ' || left(question, 60)) from asked;
select doesnt_match(pg_temp.plan_of(question), '->  (Sort|HashAggregate)', index_name || ' stops after a page, without a sort of everything')
from asked where index_name in ('slot_seats_open', 'slot_seats_open_by_expert', 'bookings_by_student', 'bookings_by_expert', 'bookings_pending', 'stripe_commands_due', 'webhook_events_failed');
select set_eq($$ select c.relname::text from pg_index i join pg_class c on c.oid = i.indexrelid
    where c.relnamespace = 'booking'::regnamespace and not i.indisprimary and not exists (select from pg_constraint k where k.conindid = c.oid) $$,
  $$ select index_name from asked where index_name not like '%_pkey' $$, 'there is no index without a question');
select is_empty($$ select i.indexrelid::regclass from pg_index i join pg_class c on c.oid = i.indrelid where c.relnamespace = 'booking'::regnamespace and not i.indisvalid $$,
  'all are valid');
select is((select count(*) from pg_index i where i.indrelid = 'booking.stat_deltas'::regclass), 0::bigint, 'the lines of the statistics have none: they are only appended');
select * from finish();
