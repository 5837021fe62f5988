-- Everything that must hold between the tables, checked against the rows themselves: no row when all is well. It reads
-- whole tables: for doctor and tests, not for a hot path. Dead commands and open alerts are work for people, not violations.
-- Locks: none. Errors: none.
create or replace function booking.check_invariants()
returns table (invariant text, subject text, detail jsonb)
language sql stable security definer
set search_path = pg_catalog, pg_temp
as $$
  select 'seats_match_bookings', q.slot_id::text,
    jsonb_build_object('part', q.part, 'taken', q.taken, 'held', count(b.id))
  from booking.slot_seats q
  left join booking.bookings b on b.slot_id = q.slot_id and b.seat_part = q.part
    and b.status in ('pending', 'confirmed', 'completed')
  group by q.slot_id, q.part
  having q.taken <> count(b.id)
  union all
  -- what a counter repeats of its slot and session, and whether the index of open slots has it
  select 'counter_tells_its_slot', q.slot_id::text, jsonb_build_object('part', q.part, 'taken', q.taken, 'is_open', q.is_open)
  from booking.slot_seats q join booking.slots s on s.id = q.slot_id left join booking.sessions x on x.id = s.session_id
  where q.is_open <> (q.taken < q.capacity)
    or (q.expert_id, q.session_id, q.title, q.amount, q.currency, q.starts_at, q.ends_at, q.confirmation, q.parts)
      is distinct from (s.expert_id, s.session_id, x.title, x.amount, x.currency, s.starts_at, s.ends_at, s.confirmation, s.parts)
  union all
  select 'seats_add_up_to_capacity', s.id::text, jsonb_build_object('capacity', s.capacity, 'seats', sum(q.capacity))
  from booking.slots s left join booking.slot_seats q on q.slot_id = s.id
  group by s.id
  having s.capacity is distinct from sum(q.capacity) or s.parts <> count(q.part)
  union all
  select 'booking_has_its_seat', b.id::text, jsonb_build_object('slot_id', b.slot_id, 'part', b.seat_part)
  from booking.bookings b
  where not exists (select from booking.slot_seats q where q.slot_id = b.slot_id and q.part = b.seat_part)
  union all
  select 'amounts_belong_together', p.id::text,
    jsonb_build_object('status', p.status, 'amount', p.amount, 'captured', p.amount_captured, 'refunded', p.amount_refunded)
  from booking.payments p
  where p.amount <= 0 or p.amount_refunded < 0 or p.amount_refunded > p.amount_captured or p.amount_captured > p.amount
    or (p.status in ('captured', 'partially_refunded', 'refunded')) <> (p.amount_captured > 0)
  union all
  select 'payment_matches_booking', p.id::text, jsonb_build_object('booking_id', b.id)
  from booking.payments p join booking.bookings b on b.id = p.booking_id
  where p.id <> b.payment_id or p.amount <> b.amount or p.currency <> b.currency
  union all
  -- a payment moves on only from a hold that lapsed, to the booking that seated its student again
  select 'payment_moved_to_its_new_booking', b.id::text, jsonb_build_object('payment_id', p.id, 'booking_id', p.booking_id)
  from booking.bookings b join booking.payments p on p.id = b.payment_id
  join booking.bookings n on n.id = p.booking_id
  where p.booking_id <> b.id
    and (not booking.is_lapsed_hold(b) or p.amount_captured = 0 or n.confirmed_at is null
         or (n.student_id, n.slot_id, n.payment_id) <> (b.student_id, b.slot_id, b.payment_id))
  union all
  select 'confirmed_is_paid', b.id::text, jsonb_build_object('payment_status', p.status)
  from booking.bookings b left join booking.payments p on p.id = b.payment_id and p.booking_id = b.id
  where b.status in ('confirmed', 'completed')
    and coalesce(p.status not in ('authorized', 'captured', 'partially_refunded', 'refunded'), true)
    -- the hold was lost after the session took place: an alert (session_unpaid), also while the student pays anew
    and (b.status = 'confirmed' or coalesce(p.status not in ('cancelled', 'failed', 'requires_action', 'processing'), true))
  union all
  -- a capture that was decided is done, on its way or dead (an alert)
  select 'confirmed_is_captured_or_on_its_way', b.id::text, jsonb_build_object('payment_id', p.id)
  from booking.bookings b join booking.payments p on p.id = b.payment_id and p.booking_id = b.id
  where b.status in ('confirmed', 'completed') and p.status = 'authorized'
    and not exists (select from booking.stripe_commands c where c.payment_id = p.id
                    and c.operation = 'capture_payment_intent' and c.outcome is distinct from 'superseded')
  union all
  -- a dead booking keeps no hold, and gives back what it owes: done, on its way, dead or held by a dispute (alerts)
  select 'dead_booking_releases_hold', b.id::text, jsonb_build_object('payment_id', p.id, 'payment_status', p.status)
  from booking.bookings b join booking.payments p on p.id = b.payment_id and p.booking_id = b.id
  where b.status in ('declined', 'cancelled')
    and p.status in ('pending', 'requires_action', 'processing', 'failed', 'authorized')
    and not exists (select from booking.stripe_commands c where c.payment_id = p.id and c.stripe_id = p.stripe_payment_intent_id
                    and c.outcome is distinct from 'superseded')
  union all
  select 'dead_booking_is_refunded', b.id::text,
    jsonb_build_object('payment_id', p.id, 'captured', p.amount_captured, 'percent', b.refund_percent,
      'counted', booking.refunds_counted(p.id))
  from booking.bookings b join booking.payments p on p.id = b.payment_id and p.booking_id = b.id
  where b.status in ('declined', 'cancelled') and p.amount_captured > 0
    and booking.policy_due(p.id) > 0
    and not booking.is_refund_held(p.id)
    -- a command that was sent must be known before a refund is queued
    and not exists (select from booking.stripe_commands c where c.stripe_id = p.stripe_payment_intent_id and c.status in ('pending', 'running'))
  union all
  -- what was approved is sent, or waits for an open command or a dispute
  select 'approved_request_is_on_its_way', q.id::text, jsonb_build_object('payment_id', q.payment_id, 'amount', q.amount)
  from booking.refund_requests q join booking.payments p on p.id = q.payment_id
  where q.status = 'approved' and q.command_id is null
    and not booking.is_refund_held(p.id)
    and not exists (select from booking.stripe_commands c where c.stripe_id = p.stripe_payment_intent_id and c.status in ('pending', 'running'))
  union all
  select 'request_follows_its_refund', q.id::text,
    jsonb_build_object('status', q.status, 'command_id', q.command_id, 'refund', f.status, 'outcome', c.outcome)
  from booking.refund_requests q
  left join booking.stripe_commands c on c.id = q.command_id
  left join lateral (select r.status from booking.refunds r where r.command_id = q.command_id order by r.created_at limit 1) f on true
  where q.command_id is not null
    and (c.refund_request_id is distinct from q.id or c.payment_id <> q.payment_id
      or (c.params ->> 'amount')::bigint <> q.amount
      or (q.status = 'refunded') <> coalesce(f.status = 'succeeded', false)
      or f.status in ('failed', 'canceled')
      or f.status is null and c.outcome in ('refused', 'superseded'))
  union all
  -- whatever was asked, approved and sent anew: no more leaves for requests than came in
  select 'requests_within_captured', p.id::text, jsonb_build_object('captured', p.amount_captured, 'requests', sum(q.amount))
  from booking.payments p join booking.refund_requests q on q.payment_id = p.id and q.status in ('approved', 'refunded')
  group by p.id
  having sum(q.amount) > p.amount_captured
  union all
  select 'request_matches_payment', q.id::text, jsonb_build_object('booking_id', q.booking_id, 'payment_id', q.payment_id)
  from booking.refund_requests q join booking.payments p on p.id = q.payment_id join booking.bookings b on b.id = q.booking_id
  where b.payment_id <> q.payment_id or b.student_id <> q.student_id or p.currency <> q.currency or q.amount > p.amount_captured
  union all
  select 'refunds_match_payment', p.id::text, jsonb_build_object('amount_refunded', p.amount_refunded, 'refunds', coalesce(f.live, 0))
  from booking.payments p
  left join (select r.payment_id, sum(r.amount) as known,
               sum(r.amount) filter (where r.status not in ('failed', 'canceled')) as live
             from booking.refunds r group by r.payment_id) f on f.payment_id = p.id
  where p.amount_captured > 0
    and p.amount_refunded <> least(p.amount_captured,
      coalesce(f.live, 0) + greatest(0, p.charge_refunded - coalesce(f.known, 0)))
  union all
  select 'payment_status_matches_amounts', p.id::text,
    jsonb_build_object('status', p.status, 'captured', p.amount_captured, 'refunded', p.amount_refunded)
  from booking.payments p
  where p.amount_captured > 0 and p.status <> case when p.amount_refunded = 0 then 'captured'
    when p.amount_refunded < p.amount_captured then 'partially_refunded' else 'refunded' end::booking.payment_status
  union all
  select 'ledger_matches_payment', p.id::text,
    jsonb_build_object('captured', p.amount_captured, 'ledger_captured', coalesce(t.captured, 0),
      'refunded', p.amount_refunded, 'ledger_refunded', coalesce(t.refunded, 0))
  from booking.payments p
  left join (select x.payment_id,
               sum(case x.kind when 'capture' then x.amount else 0 end) as captured,
               sum(case x.kind when 'refund' then x.amount when 'refund_reversal' then -x.amount else 0 end) as refunded
             from booking.transfers x group by x.payment_id) t on t.payment_id = p.id
  where p.amount_captured <> coalesce(t.captured, 0) or p.amount_refunded <> coalesce(t.refunded, 0)
  union all
  select 'invoice_matches_capture', i.id::text, jsonb_build_object('gross', i.gross, 'captured', p.amount_captured)
  from booking.invoices i join booking.payments p on p.id = i.payment_id
  where i.kind = 'invoice' and i.gross <> p.amount_captured
  union all
  select 'credit_notes_match_refunds', i.id::text,
    jsonb_build_object('payment_id', p.id, 'credited', coalesce(n.gross, 0), 'refunded', p.amount_refunded, 'status', i.status)
  from booking.invoices i
  join booking.payments p on p.id = i.payment_id
  left join (select c.payment_id, sum(c.gross) as gross from booking.invoices c where c.kind = 'credit_note' group by c.payment_id) n
    on n.payment_id = p.id
  where i.kind = 'invoice' and (coalesce(n.gross, 0) <> p.amount_refunded
    or i.status <> case when p.amount_refunded = 0 then 'issued' when p.amount_refunded < i.gross then 'partially_credited'
                        else 'credited' end::booking.invoice_status)
  union all
  select 'invoice_numbers_have_no_gap', coalesce(s.series, n.series) || '-' || coalesce(s.year, n.year),
    jsonb_build_object('last_number', s.last_number, 'numbers', n.count, 'highest', n.highest)
  from booking.invoice_series s
  full join (select i.series, i.year, count(*) as count, max(i.serial) as highest from booking.invoices i group by i.series, i.year) n
    on n.series = s.series and n.year = s.year
  where coalesce(n.count, 0) <> coalesce(s.last_number, 0) or coalesce(n.highest, 0) <> coalesce(s.last_number, 0)
  union all
  select 'invoice_versions_are_whole', i.id::text, jsonb_build_object('version', i.version, 'versions', count(v.version), 'gross', i.gross)
  from booking.invoices i left join booking.invoice_versions v on v.invoice_id = i.id
  group by i.id
  having count(v.version) <> i.version or max(v.version) <> i.version
    or i.gross is distinct from max(v.gross) filter (where v.version = i.version)
  union all
  select 'audit_ends_at_status', b.id::text, jsonb_build_object('status', b.status, 'audit', e.to_status)
  from booking.bookings b
  left join lateral (select v.to_status from booking.booking_events v where v.booking_id = b.id order by v.id desc limit 1) e on true
  where b.status is distinct from coalesce(e.to_status, 'pending')
  union all
  select 'reconciliation_is_counted', r.id::text, jsonb_build_object('differences', r.differences, 'pending', r.pending, 'rows', count(d.number))
  from booking.reconciliation_runs r left join booking.reconciliation_differences d on d.run_id = r.id
  group by r.id
  having coalesce(r.differences, 0) <> count(d.number) filter (where d.waits_for is null)
    or coalesce(r.pending, 0) <> count(d.number) filter (where d.waits_for is not null)
  union all
  select 'statistics_add_up', concat_ws(' ', x.metric, x.period), jsonb_build_object('begins_at', x.begins_at, 'currency', x.currency)
  from (
    select k.period, date_trunc(k.period::text, h.hour, 'UTC') as begins_at, h.metric, h.currency, h.quantity, h.amount
    from booking.stat_hours h cross join unnest(enum_range(null::booking.stat_period)) k (period)
    union all
    select p.period, p.begins_at, p.metric, p.currency, -p.quantity, -p.amount from booking.stat_periods p
  ) x
  group by x.period, x.begins_at, x.metric, x.currency
  having sum(x.quantity) <> 0 or sum(x.amount) <> 0
  union all
  select 'statistics_match_rows', x.metric, jsonb_build_object('counted', x.counted, 'rows', x.actual)
  from (
    with lines as (
      select h.metric::text, sum(h.quantity) as quantity, sum(h.amount) as amount
      from (select s.metric, s.quantity, s.amount from booking.stat_hours s
            union all select d.metric, d.quantity, d.amount from booking.stat_deltas d) h
      group by h.metric
    ), counts as (
      select count(*) as booked, count(*) filter (where b.status = 'declined') as declined,
        count(*) filter (where b.status = 'completed') as completed,
        count(*) filter (where b.status in ('pending', 'confirmed', 'completed')) as seated,
        count(*) filter (where b.confirmed_at is not null) as confirmed
      from booking.bookings b
    )
    select n.metric, coalesce((select l.quantity from lines l where l.metric = n.metric), 0) as counted, n.actual
    from counts c, lateral (values ('booked', c.booked), ('declined', c.declined), ('completed', c.completed),
      ('seats', c.seated), ('confirmed', c.confirmed),
      ('slots', (select coalesce(sum(s.capacity), 0) from booking.slots s))) n (metric, actual)
    union all
    select n.metric, coalesce((select l.amount from lines l where l.metric = n.metric), 0), n.actual
    from (values ('captured', (select coalesce(sum(p.amount_captured), 0) from booking.payments p)),
                 ('refunded', (select coalesce(sum(p.amount_refunded), 0) from booking.payments p))) n (metric, actual)
  ) x
  where x.counted <> x.actual
  union all
  -- nobody shall pay for an order that a newer one replaced: its session's end is done, on its way or dead (an alert)
  select 'superseded_order_loses_its_session', o.id::text, jsonb_build_object('session_id', o.stripe_session_id)
  from booking.orders o
  where o.status = 'pending' and o.superseded_by is not null and o.stripe_session_id is not null
    and not exists (select from booking.stripe_commands c where c.order_id = o.id and c.stripe_id = o.stripe_session_id
                    and c.outcome is distinct from 'superseded')
  union all
  select 'superseded_order_has_a_session', o.id::text, jsonb_build_object('superseded_by', o.superseded_by)
  from booking.orders o
  where o.status = 'pending' and o.superseded_by is not null and o.stripe_session_id is null
  union all
  select 'successor_is_of_the_same_purchase', o.id::text, jsonb_build_object('superseded_by', o.superseded_by)
  from booking.orders o join booking.orders n on n.id = o.superseded_by
  where (n.user_id, n.product_id) <> (o.user_id, o.product_id)
  union all
  select 'checkout_key_leads_to_its_order', k.result_id::text, jsonb_build_object('expires_at', k.expires_at)
  from booking.client_idempotency k
  where k.scope = 'checkout' and not exists (select from booking.orders o where o.id = k.result_id and o.user_id = k.user_id)
  union all
  select 'order_command_names_its_session', c.id::text, jsonb_build_object('order_id', c.order_id, 'stripe_id', c.stripe_id)
  from booking.stripe_commands c left join booking.orders o on o.id = c.order_id
  where c.order_id is not null and (c.operation <> 'expire_checkout_session' or o.stripe_session_id is distinct from c.stripe_id)
$$;

revoke all on function booking.check_invariants() from public;
grant execute on function booking.check_invariants() to booking_dba;
comment on function booking.check_invariants() is 'Everything that must hold between the tables; no row when all is well';
