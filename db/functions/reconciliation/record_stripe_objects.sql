-- Keeps what Stripe shows: an array of PaymentIntents, charges and refunds as its API returns them (a charge that is
-- expanded inside of its PaymentIntent counts, too), in any order and in pages of any size up to 10,000. The same object
-- again replaces what was known of it. Only ids, amounts (minor units) and statuses are kept; other kinds of objects are
-- passed over. Returns how many objects of the array were kept.
-- Locks: the run. Errors: PT400 invalid_request (DETAIL.field objects) · PT404 reconciliation_not_found ·
--   PT409 reconciliation_finished.
create or replace function booking.record_stripe_objects(p_run_id uuid, p_objects jsonb)
returns int
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set jit = off
as $$
declare
  v_uuid constant text := '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$';
  v_run booking.reconciliation_runs;
  v_seen_at timestamptz;
  v_count int;
begin
  if p_objects is null or jsonb_typeof(p_objects) <> 'array' or jsonb_array_length(p_objects) > 10000
    or jsonb_path_exists(p_objects, '$[*] ? (@.type() != "object" || !exists (@.id ? (@.type() == "string" && @ != "")))')
    -- what is of use must have its numbers
    or jsonb_path_exists(p_objects, '$[*] ? ((@.object == "payment_intent" || @.object == "charge" || @.object == "refund")
         && !exists (@.amount ? (@.type() == "number" && @ >= 0)))')
  then
    perform booking.refuse(400, 'invalid_request', '{"field": "objects"}', 'Give an array of at most 10,000 objects of Stripe.');
  end if;
  v_run := booking.lock_reconciliation(p_run_id, false);
  v_seen_at := coalesce(v_run.asked_at, booking.clock());

  insert into booking.reconciliation_items as i (run_id, object, stripe_id, payment_intent_id, named_payment_id, named_order_id,
    amount, captured, refunded, currency, status, seen_at)
  select distinct on (x.object, x.stripe_id) p_run_id, x.object, x.stripe_id, x.payment_intent_id, x.named_payment_id, x.named_order_id,
    x.amount,
    case when x.object = 'payment_intent' then coalesce((x.body ->> 'amount_received')::bigint, 0)
         when x.object = 'charge' and x.status = 'captured' then x.amount_captured
         else 0 end,
    case when x.object = 'charge' and x.status = 'captured'
           -- what a partial capture left of the hold counts as refunded at Stripe
           then greatest(0, coalesce((x.body ->> 'amount_refunded')::bigint, 0) - greatest(0, x.amount - x.amount_captured))
         when x.object = 'refund' and x.status not in ('failed', 'canceled') then x.amount
         else 0 end,
    coalesce(lower(x.body ->> 'currency'), ''), coalesce(x.status, ''), v_seen_at
  from (
    select o.body, o.body ->> 'object' as object, o.body ->> 'id' as stripe_id, o.place, o.depth,
      case
        when o.body ->> 'object' = 'payment_intent' then o.body ->> 'id'
        when jsonb_typeof(o.body -> 'payment_intent') = 'object' then o.body -> 'payment_intent' ->> 'id'
        else o.body ->> 'payment_intent'
      end as payment_intent_id,
      case when o.body -> 'metadata' ->> 'payment_id' ~* v_uuid then (o.body -> 'metadata' ->> 'payment_id')::uuid end as named_payment_id,
      case when o.body -> 'metadata' ->> 'order_id' ~* v_uuid then (o.body -> 'metadata' ->> 'order_id')::uuid end as named_order_id,
      (o.body ->> 'amount')::bigint as amount,
      coalesce((o.body ->> 'amount_captured')::bigint, (o.body ->> 'amount')::bigint) as amount_captured,
      case
        when o.body ->> 'object' <> 'charge' then o.body ->> 'status'
        when o.body ->> 'status' is distinct from 'succeeded' then o.body ->> 'status'
        when (o.body ->> 'captured')::boolean then 'captured'
        when (o.body ->> 'refunded')::boolean then 'released'
        else 'held'
      end as status
    from (
      select e.body, e.place, 0 as depth from jsonb_array_elements(p_objects) with ordinality e (body, place)
      union all
      select e.body -> 'latest_charge', e.place, 1
      from jsonb_array_elements(p_objects) with ordinality e (body, place)
      where jsonb_typeof(e.body -> 'latest_charge') = 'object' and e.body ->> 'object' = 'payment_intent'
    ) o
    where o.body ->> 'object' in ('payment_intent', 'charge', 'refund')
  ) x
  order by x.object, x.stripe_id, x.place desc, x.depth
  on conflict (run_id, object, stripe_id) do update
  set payment_intent_id = excluded.payment_intent_id, named_payment_id = excluded.named_payment_id,
      named_order_id = excluded.named_order_id, amount = excluded.amount, captured = excluded.captured,
      refunded = excluded.refunded, currency = excluded.currency, status = excluded.status, seen_at = excluded.seen_at;

  select count(*) into v_count from jsonb_array_elements(p_objects) e
  where e ->> 'object' in ('payment_intent', 'charge', 'refund');
  return v_count;
end
$$;

revoke all on function booking.record_stripe_objects(uuid, jsonb) from public;
grant execute on function booking.record_stripe_objects(uuid, jsonb) to booking_app, booking_dba;
comment on function booking.record_stripe_objects(uuid, jsonb) is
  'Keeps what Stripe shows for a run of the reconciliation; the same object again replaces what was known of it';
