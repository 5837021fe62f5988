-- Where our books and what a run saw at Stripe disagree, one row a PaymentIntent and kind:
--   missing_here       a PaymentIntent that names a payment or order of ours in its metadata and is in no row of ours. When
--                      we know that payment or order (it has another PaymentIntent, or ended without one), only as long as
--                      something of it is left at Stripe: what was canceled, or captured and refunded whole, harms nobody
--   missing_at_stripe  a payment or order of ours of this window whose PaymentIntent Stripe did not show
--   amount             the price, or the currency
--   captured, refunded in sum; as the PaymentIntent, its charge and its refunds show it. Of orders, refunds are not compared
--   status             ours does not follow from the PaymentIntent's; refunds are no status at Stripe
--   incomplete         no difference: the PaymentIntent, or the charge of one that succeeded, lies outside of the window
-- A PaymentIntent belongs to the payment or order that has its id; one that nobody has, to the one of its metadata while that
-- has none. One that does not name us and is not canceled is missing_here as well, unless settings.reports_foreign_payments is
-- off, because other systems share the account; charges and refunds without a PaymentIntent are never ours.
-- Only what an object shows is a difference: without a charge nothing is said of its refunds.
-- waits_for: outbox, when an open command explains the difference; moved, when ours changed after Stripe was asked.
-- A run's rows are new and no statistics tell of them: nothing here joins them with each other, only by an index.
-- Internal: granted to nobody. Locks: none. Errors: none.
create or replace function booking.compare_with_stripe(p_run_id uuid)
returns table (payment_id uuid, order_id uuid, stripe_id text, kind text, ours text, theirs text, waits_for text)
language sql stable security definer
set search_path = pg_catalog, pg_temp
as $$
  with run as (
    select r.* from booking.reconciliation_runs r where r.id = p_run_id
  ), items as (
    select i.* from booking.reconciliation_items i where i.run_id = p_run_id and i.payment_intent_id is not null
  ), seen as (
    select i.payment_intent_id as stripe_id,
      (array_agg(i.named_payment_id order by i.object <> 'payment_intent') filter (where i.named_payment_id is not null))[1] as named_id,
      (array_agg(i.named_order_id order by i.object <> 'payment_intent') filter (where i.named_order_id is not null))[1] as named_order_id,
      bool_or(i.object = 'payment_intent') as is_whole,
      max(i.amount) filter (where i.object = 'payment_intent') as amount,
      max(i.currency) filter (where i.object = 'payment_intent') as currency,
      max(i.status) filter (where i.object = 'payment_intent') as status,
      max(i.captured) filter (where i.object = 'payment_intent') as received,
      sum(i.captured) filter (where i.object = 'charge' and i.status = 'captured') as charged,
      sum(i.refunded) filter (where i.object = 'charge' and i.status = 'captured') as charge_refunded,
      coalesce(bool_or(i.status = 'held') filter (where i.object = 'charge'), false) as is_held,
      coalesce(bool_or(i.status = 'released') filter (where i.object = 'charge'), false) as is_released,
      count(*) filter (where i.object = 'refund') as refunds,
      coalesce(sum(i.refunded) filter (where i.object = 'refund'), 0) as given_back,
      coalesce(sum(i.amount) filter (where i.object = 'refund'), 0) as refunds_known,
      -- pages of charges and refunds come later, and who asks for one PaymentIntent asks for its charge and refunds, too
      coalesce(max(i.seen_at) filter (where i.object = 'payment_intent'), min(i.seen_at)) as seen_at
    from items i
    group by i.payment_intent_id
  ), matched as (
    select s.*, r.asked_at,
      -- is anything of it left at Stripe?
      case
        when s.is_whole and s.status = 'canceled' then false
        when s.is_whole and s.status = 'requires_capture' then not s.is_released
        when s.is_whole and s.status <> 'succeeded' then true
        else s.is_held or coalesce(s.charged, s.received, 0) > greatest(coalesce(s.charge_refunded, 0), s.given_back)
      end as is_left,
      case when p.id is not null then p.id
           when m.stripe_payment_intent_id is null and m.status <> 'cancelled' then m.id end as own_id,
      case when o.id is not null then o.id when n.stripe_payment_intent_id is null then n.id end as own_order_id,
      m.id as known_id, n.id as known_order_id
    from run r
    cross join seen s
    left join booking.payments p on p.stripe_payment_intent_id = s.stripe_id
    left join booking.payments m on m.id = s.named_id
    left join booking.orders o on o.stripe_payment_intent_id = s.stripe_id
    left join booking.orders n on n.id = s.named_order_id
  ), own as (
    select m.*, p.amount as our_amount, p.currency::text as our_currency, p.status::text as our_status, p.amount_captured,
      p.amount_refunded, p.charge_refunded as our_charge_refunded,
      case when m.asked_at is not null and p.updated_at > m.seen_at then 'moved' end as moved,
      -- it was paid after it had ended, and given back whole: it never entered our books
      p.status = 'cancelled' and not m.is_left as is_over
    from matched m
    join booking.payments p on p.id = m.own_id
  ), judged as (
    select o.*,
      case when o.received <> o.amount_captured then o.received
           when o.charged <> o.amount_captured then o.charged end as their_captured,
      case
        when o.charge_refunded <> o.amount_refunded then o.charge_refunded
        when o.refunds > 0 then nullif(
          least(greatest(o.amount_captured, o.received, o.charged),
            o.given_back + f.live + greatest(0, o.our_charge_refunded - o.refunds_known - f.known)),
          o.amount_refunded)
      end as their_refunded,
      case o.status
        when 'requires_payment_method' then o.our_status in ('pending', 'failed')
        when 'requires_confirmation' then o.our_status in ('pending', 'failed')
        -- a decline in the same second counts as the later word
        when 'requires_action' then o.our_status in ('requires_action', 'failed')
        when 'processing' then o.our_status in ('processing', 'failed')
        when 'requires_capture' then o.our_status = case when o.is_released then 'cancelled' else 'authorized' end
        when 'succeeded' then case when o.received > 0 then o.our_status in ('captured', 'partially_refunded', 'refunded')
                                   else o.our_status = 'authorized' end
        when 'canceled' then o.our_status = 'cancelled'
        else true
      end as fits
    from own o
    -- the refunds that only we know: as keep_books() would have it, had it seen all of both sides
    left join lateral (
      select coalesce(sum(f.amount) filter (where f.status not in ('failed', 'canceled')), 0) as live, coalesce(sum(f.amount), 0) as known
      from booking.refunds f
      where o.refunds > 0 and f.payment_id = o.own_id
        and not exists (select from booking.reconciliation_items i
                        where i.run_id = p_run_id and i.object = 'refund' and i.stripe_id = f.stripe_refund_id)
    ) f on true
  ), found as (
    select j.own_id as payment_id, null::uuid as order_id, j.stripe_id, d.kind, d.ours, d.theirs, j.moved, j.our_status
    from judged j
    cross join lateral (values
      ('amount',
        j.our_amount || case when j.currency <> j.our_currency then ' ' || j.our_currency else '' end,
        j.amount || case when j.currency <> j.our_currency then ' ' || j.currency else '' end,
        j.amount <> j.our_amount or j.currency <> j.our_currency),
      ('captured', j.amount_captured::text, j.their_captured::text, j.their_captured is not null and not j.is_over),
      ('refunded', j.amount_refunded::text, j.their_refunded::text, j.their_refunded is not null and not j.is_over),
      ('status', j.our_status, j.status, not j.fits and not j.is_over),
      ('incomplete', null, null, not j.is_whole or j.status = 'succeeded' and j.charged is null)
    ) d (kind, ours, theirs, differs)
    where d.differs
    union all
    select null, o.id, m.stripe_id, d.kind, d.ours, d.theirs, case when m.asked_at is not null and o.updated_at > m.seen_at then 'moved' end, null
    from matched m
    join booking.orders o on o.id = m.own_order_id
    cross join lateral (select case o.status when 'paid' then o.amount else 0 end as captured) c
    cross join lateral (values
      ('amount',
        o.amount || case when m.currency <> o.currency then ' ' || o.currency else '' end,
        m.amount || case when m.currency <> o.currency then ' ' || m.currency else '' end,
        m.amount <> o.amount or m.currency <> o.currency),
      -- what was paid and is not ours, and was given back whole, harms nobody
      ('captured', c.captured::text, coalesce(m.received, m.charged)::text,
        coalesce(m.received, m.charged) <> c.captured and (o.status = 'paid' or m.is_left)),
      ('status', o.status::text, m.status, (m.status = 'succeeded') <> (o.status = 'paid') and (o.status = 'paid' or m.is_left)),
      ('incomplete', null, null, not m.is_whole or m.status = 'succeeded' and m.charged is null)
    ) d (kind, ours, theirs, differs)
    where d.differs
    union all
    select m.known_id, m.known_order_id, m.stripe_id, d.kind, null, d.theirs, null, null
    from matched m
    cross join lateral (values
      ('missing_here', nullif(concat_ws(' ', m.status, m.amount, m.currency), ''), m.is_left or m.known_id is null and m.known_order_id is null),
      ('incomplete', null, not m.is_whole)
    ) d (kind, theirs, differs)
    where m.own_id is null and m.own_order_id is null and d.differs
      and (m.named_id is not null or m.named_order_id is not null
           or m.is_whole and m.status <> 'canceled' and (select c.reports_foreign_payments from booking.settings c))
    union all
    select p.id, null, p.stripe_payment_intent_id, 'missing_at_stripe', concat_ws(' ', p.status, p.amount, p.currency), null,
      case when p.updated_at > r.asked_at then 'moved' end, null
    from run r
    join booking.payments p on p.created_at >= r.window_from and p.created_at < r.window_to
    where p.stripe_payment_intent_id is not null
      and not exists (select from booking.reconciliation_items i
                      where i.run_id = p_run_id and i.payment_intent_id = p.stripe_payment_intent_id)
    union all
    select null, o.id, o.stripe_payment_intent_id, 'missing_at_stripe', concat_ws(' ', o.status, o.amount, o.currency), null,
      case when o.updated_at > r.asked_at then 'moved' end, null
    from run r
    join booking.orders o on o.created_at >= r.window_from and o.created_at < r.window_to
    where o.stripe_payment_intent_id is not null
      and not exists (select from booking.reconciliation_items i
                      where i.run_id = p_run_id and i.payment_intent_id = o.stripe_payment_intent_id)
  )
  select f.payment_id, f.order_id, f.stripe_id, f.kind, f.ours, f.theirs,
    case when f.kind in ('captured', 'refunded', 'status', 'missing_here') and exists (
           select from booking.stripe_commands c
           where c.stripe_id = f.stripe_id and c.status in ('pending', 'running')
             and (f.kind = 'missing_here' or f.our_status = 'cancelled'
                  or (f.kind = 'refunded') = (c.operation = 'create_refund')))
         then 'outbox' else f.moved end
  from found f
$$;

revoke all on function booking.compare_with_stripe(uuid) from public;
comment on function booking.compare_with_stripe(uuid) is 'Internal: where our books and what a run saw at Stripe disagree';
