-- Everything about one id, whatever it is the id of: a booking, payment, PaymentIntent, charge, command, refund, refund
-- request, dispute, order, Checkout Session, Stripe event, slot, or the subject of an alert. Rows of what belongs together, oldest
-- first: kind (booking, payment, command, refund, refund_request, dispute, order, event, slot, alert), id, status, since (when
-- it was made; UTC), detail (ids, amounts in minor units, codes; nobody's own words). Unknown: no row.
-- For a person who looks into an alert: only a charge is searched for without an index. Locks: none. Errors: none.
create or replace function booking.trace(p_id text)
returns table (kind text, id text, status text, since timestamptz, detail jsonb)
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
  v_form constant text := '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$';
  v_words text[];
  v_ids uuid[];
  v_payments uuid[];
  v_orders uuid[];
  v_bookings uuid[];
  v_commands uuid[];
  v_subjects text[];
begin
  -- an alert's subject leads to what the alert names
  select array_agg(x.word) into v_words
  from (select p_id as word
        union
        select n.value from booking.alerts a cross join lateral jsonb_each_text(a.detail) n
        where a.subject = p_id and n.key in ('payment_id', 'booking_id', 'order_id', 'request_id')) x
  where x.word is not null;
  select coalesce(array_agg(w.word::uuid), '{}') into v_ids from unnest(v_words) w (word) where w.word ~* v_form;

  select coalesce(array_agg(x.id), '{}') into v_payments
  from (select p.id from booking.payments p where p.id = any (v_ids)
        union select p.id from booking.payments p where p.stripe_payment_intent_id = p_id
        union select p.id from booking.payments p where p_id like 'ch\_%' and p.stripe_charge_id = p_id
        union select b.payment_id from booking.bookings b where b.id = any (v_ids)
        union select c.payment_id from booking.stripe_commands c where c.id = any (v_ids)
        union select f.payment_id from booking.refunds f where f.stripe_refund_id = p_id
        union select d.payment_id from booking.disputes d where d.stripe_dispute_id = p_id
        union select q.payment_id from booking.refund_requests q where q.id = any (v_ids)
        union select (booking.payment_of(w.payload #> '{data,object}', w.event_type)).payment_id
              from booking.webhook_events w where w.stripe_event_id = p_id) x
  where x.id is not null;
  select coalesce(array_agg(distinct k.id), '{}') into v_orders
  from (select o.id from booking.orders o where o.id = any (v_ids)
        union select o.id from booking.orders o where o.stripe_session_id = p_id
        union select o.id from booking.orders o where o.stripe_payment_intent_id = p_id
        union select c.order_id from booking.stripe_commands c where c.id = any (v_ids)
        union select booking.order_of(w.payload #> '{data,object}') from booking.webhook_events w
              where w.stripe_event_id = p_id and w.event_type like 'checkout.session.%') x
  cross join lateral unnest(booking.order_kin(x.id)) k (id);
  select coalesce(array_agg(x.id), '{}') into v_bookings
  from (select b.id from booking.bookings b where b.id = any (v_ids)
        union select p.booking_id from booking.payments p where p.id = any (v_payments)) x;
  select coalesce(array_agg(c.id), '{}') into v_commands
  from booking.stripe_commands c where c.payment_id = any (v_payments) or c.order_id = any (v_orders);
  v_subjects := array[p_id] || v_bookings::text[] || v_payments::text[] || v_orders::text[] || v_commands::text[];

  return query
    select x.kind, x.id, x.status, x.since, jsonb_strip_nulls(x.detail)
    from (
      select 1 as rank, 'slot' as kind, s.id::text, case when s.ends_at > booking.clock() then 'ahead' else 'over' end as status,
        s.created_at as since, jsonb_build_object('expert_id', s.expert_id, 'starts_at', s.starts_at, 'capacity', s.capacity,
          'confirmation', s.confirmation, 'taken', (select sum(q.taken) from booking.slot_seats q where q.slot_id = s.id),
          'live_bookings', (select count(*) from booking.bookings b
                            where b.slot_id = s.id and b.status in ('pending', 'confirmed'))) as detail
      from booking.slots s where s.id = any (v_ids)
      union all
      select 2, 'booking', b.id::text, b.status::text, b.created_at, jsonb_build_object('student_id', b.student_id,
        'expert_id', b.expert_id, 'slot_id', b.slot_id, 'payment_id', b.payment_id, 'scheduled_at', b.scheduled_at,
        'cancelled_by', b.cancelled_by, 'refund_percent', b.refund_percent,
        'reason', case when b.cancelled_by = 'system' then b.cancellation_reason end)
      from booking.bookings b where b.id = any (v_bookings)
      union all
      select 3, 'payment', p.id::text, p.status::text, p.created_at, jsonb_build_object('booking_id', p.booking_id,
        'stripe_payment_intent_id', p.stripe_payment_intent_id, 'stripe_charge_id', p.stripe_charge_id, 'amount', p.amount,
        'currency', p.currency, 'captured', p.amount_captured, 'refunded', p.amount_refunded, 'capture_before', p.capture_before)
      from booking.payments p where p.id = any (v_payments)
      union all
      select 3, 'order', o.id::text, o.status::text, o.created_at, jsonb_build_object('user_id', o.user_id,
        'product_id', o.product_id, 'stripe_session_id', o.stripe_session_id, 'stripe_payment_intent_id', o.stripe_payment_intent_id,
        'amount', o.amount, 'currency', o.currency, 'superseded_by', o.superseded_by, 'last_error', o.last_error)
      from booking.orders o where o.id = any (v_orders)
      union all
      select 4, 'refund_request', q.id::text, q.status::text, q.created_at, jsonb_build_object('amount', q.amount,
        'currency', q.currency, 'decided_by', q.decided_by, 'command_id', q.command_id)
      from booking.refund_requests q where q.payment_id = any (v_payments)
      union all
      select 5, 'command', c.id::text, c.status::text, c.created_at, jsonb_build_object('operation', c.operation,
        'stripe_id', c.stripe_id, 'amount', c.params -> 'amount', 'outcome', c.outcome, 'attempts', c.attempts,
        'run_at', case when c.status = 'pending' then c.run_at end, 'lease_until', c.lease_until,
        'refund_request_id', c.refund_request_id, 'last_error', c.last_error)
      from booking.stripe_commands c where c.id = any (v_commands)
      union all
      select 6, 'refund', f.stripe_refund_id, f.status::text, f.created_at, jsonb_build_object('amount', f.amount,
        'currency', f.currency, 'command_id', f.command_id, 'failure_reason', f.failure_reason)
      from booking.refunds f where f.payment_id = any (v_payments)
      union all
      select 7, 'dispute', d.stripe_dispute_id, d.status, d.created_at, jsonb_build_object('amount', d.amount,
        'currency', d.currency, 'reason', d.reason)
      from booking.disputes d where d.payment_id = any (v_payments)
      union all
      select 8, 'event', w.stripe_event_id, w.status::text, w.received_at, jsonb_build_object('type', w.event_type,
        'object', w.payload #> '{data,object,id}', 'attempts', w.attempts, 'error', w.error)
      from booking.webhook_events w where w.stripe_event_id = p_id
      union all
      select 9, 'alert', a.id::text, case when a.resolved_at is null then 'open' else 'resolved' end, a.first_at,
        jsonb_build_object('kind', a.kind, 'subject', a.subject, 'times', a.times, 'last_at', a.last_at,
          'resolved_by', a.resolved_by, 'detail', a.detail)
      from booking.alerts a
      where a.subject = any (v_subjects)
        or a.detail ->> 'payment_id' = any (v_payments::text[]) or a.detail ->> 'order_id' = any (v_orders::text[])
    ) x
    order by x.since, x.rank, x.id;
end
$$;

revoke all on function booking.trace(text) from public;
grant execute on function booking.trace(text) to booking_dba;
comment on function booking.trace(text) is
  'Everything about one id (booking, payment, Stripe object, command, order, event, slot, alert''s subject), oldest first';
