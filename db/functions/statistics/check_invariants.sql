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
  select 'seats_add_up_to_capacity', s.id::text, jsonb_build_object('capacity', s.capacity, 'seats', sum(q.capacity))
  from booking.slots s left join booking.slot_seats q on q.slot_id = s.id
  group by s.id
  having s.capacity is distinct from sum(q.capacity) or s.parts <> count(q.part)
  union all
  select 'booking_has_its_seat', b.id::text, jsonb_build_object('slot_id', b.slot_id, 'part', b.seat_part)
  from booking.bookings b
  where not exists (select from booking.slot_seats q where q.slot_id = b.slot_id and q.part = b.seat_part)
  union all
  select 'payment_matches_booking', p.id::text, jsonb_build_object('booking_id', b.id)
  from booking.payments p join booking.bookings b on b.id = p.booking_id
  where p.id <> b.payment_id or p.amount <> b.amount or p.currency <> b.currency
  union all
  select 'confirmed_is_paid', b.id::text, jsonb_build_object('payment_status', p.status)
  from booking.bookings b left join booking.payments p on p.id = b.payment_id
  where b.status in ('confirmed', 'completed')
    and coalesce(p.status not in ('authorized', 'captured', 'partially_refunded', 'refunded'), true)
    -- the hold was lost after the session took place: an alert (session_unpaid), also while the student pays anew
    and (b.status = 'confirmed' or coalesce(p.status not in ('cancelled', 'failed', 'requires_action', 'processing'), true))
  union all
  -- a capture that was decided is done, on its way or dead (an alert)
  select 'confirmed_is_captured_or_on_its_way', b.id::text, jsonb_build_object('payment_id', p.id)
  from booking.bookings b join booking.payments p on p.id = b.payment_id
  where b.status in ('confirmed', 'completed') and p.status = 'authorized'
    and not exists (select from booking.stripe_commands c where c.payment_id = p.id
                    and c.operation = 'capture_payment_intent' and c.outcome is distinct from 'superseded')
  union all
  -- a dead booking keeps no hold, and gives back what it owes: done, on its way, dead or held by a dispute (alerts)
  select 'dead_booking_releases_hold', b.id::text, jsonb_build_object('payment_id', p.id, 'payment_status', p.status)
  from booking.bookings b join booking.payments p on p.id = b.payment_id
  where b.status in ('declined', 'cancelled')
    and p.status in ('pending', 'requires_action', 'processing', 'failed', 'authorized')
    and not exists (select from booking.stripe_commands c where c.payment_id = p.id and c.stripe_id = p.stripe_payment_intent_id
                    and c.outcome is distinct from 'superseded')
  union all
  select 'dead_booking_is_refunded', b.id::text,
    jsonb_build_object('payment_id', p.id, 'captured', p.amount_captured, 'percent', b.refund_percent,
      'counted', booking.refunds_counted(p.id))
  from booking.bookings b join booking.payments p on p.id = b.payment_id
  where b.status in ('declined', 'cancelled') and p.amount_captured > 0
    and booking.percent_of(p.amount_captured, b.refund_percent, p.currency) > booking.refunds_counted(p.id)
    and not exists (select from booking.disputes d where d.payment_id = p.id and d.status not in ('won', 'warning_closed', 'prevented'))
    -- a command that was sent must be known before a refund is queued
    and not exists (select from booking.stripe_commands c where c.stripe_id = p.stripe_payment_intent_id and c.status in ('pending', 'running'))
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
  select 'audit_ends_at_status', b.id::text, jsonb_build_object('status', b.status, 'audit', e.to_status)
  from booking.bookings b
  left join lateral (select v.to_status from booking.booking_events v where v.booking_id = b.id order by v.id desc limit 1) e on true
  where b.status is distinct from coalesce(e.to_status, 'pending')
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
$$;

revoke all on function booking.check_invariants() from public;
grant execute on function booking.check_invariants() to booking_dba;
comment on function booking.check_invariants() is 'Everything that must hold between the tables; no row when all is well';
