-- Trigger: an order moves only along an edge of its transition table, its facts never change, updated_at is kept.
--   pending -> expired | failed | paid;  expired -> failed | paid;  failed -> paid
-- Paid is final and reachable from everywhere: money that came in counts, whatever was believed before.
-- Locks: none beyond the row. Errors: PT409 illegal_transition, append_only (a fact, or an id of Stripe's).
create or replace function booking.keep_order()
returns trigger
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  if new.status <> old.status
    and not (old.status = 'pending' and new.status in ('expired', 'failed', 'paid'))
    and not (old.status = 'expired' and new.status in ('failed', 'paid'))
    and not (old.status = 'failed' and new.status = 'paid')
  then
    perform booking.refuse(409, 'illegal_transition',
      jsonb_build_object('order_id', old.id, 'from', old.status, 'to', new.status),
      'Orders move only along the edges of their transition table.');
  end if;
  if (new.id, new.product_id, new.user_id, new.amount, new.currency)
    is distinct from (old.id, old.product_id, old.user_id, old.amount, old.currency)
    or old.stripe_session_id is not null and new.stripe_session_id is distinct from old.stripe_session_id
    or old.stripe_payment_intent_id is not null and new.stripe_payment_intent_id is distinct from old.stripe_payment_intent_id
    or old.superseded_by is not null and new.superseded_by is distinct from old.superseded_by
  then
    perform booking.refuse(409, 'append_only', jsonb_build_object('table', 'orders', 'order_id', old.id),
      'What an order is for and its session are fixed once they are known.');
  end if;
  new.updated_at := booking.clock();
  return new;
end
$$;

revoke all on function booking.keep_order() from public;
comment on function booking.keep_order() is 'Trigger: orders move only along the edges of their transition table';

create or replace trigger keep_order before update on booking.orders
  for each row execute function booking.keep_order();
