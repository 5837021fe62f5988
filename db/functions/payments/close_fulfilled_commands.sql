-- Closes dead commands of a payment whose wish has come true in another way (by hand in Stripe's dashboard, by an event
-- that came later): nothing is left to do, so their alerts are resolved. A refund's wish is true once what is owed is
-- given back without it, that of an approved request only when its own refund is there.
-- Internal: granted to nobody. Locks: the commands -> alerts (the caller holds booking and payment). Errors: none.
create or replace function booking.close_fulfilled_commands(p_payment_id uuid)
returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_command record;
begin
  for v_command in
    update booking.stripe_commands c
    set status = 'done',
        outcome = (case when exists (select from booking.refunds f where f.command_id = c.id) then 'applied'
                        else 'superseded' end)::booking.command_outcome
    from booking.payments p, booking.bookings b
    where c.payment_id = p_payment_id and c.status = 'dead'
      and p.id = c.payment_id and b.id = p.booking_id and c.stripe_id = p.stripe_payment_intent_id
      and case c.operation
        when 'capture_payment_intent' then p.amount_captured > 0 or p.status = 'cancelled'
        when 'cancel_payment_intent' then p.amount_captured > 0 or p.stripe_cancelled_at is not null
        when 'create_refund' then exists (select from booking.refunds f where f.command_id = c.id)
          or c.refund_request_id is null
            and p.amount_refunded - coalesce((select sum(q.amount) from booking.refund_requests q
                                              where q.payment_id = p.id and q.beyond_policy and q.status = 'refunded'), 0)
              >= booking.percent_of(p.amount_captured, b.refund_percent, p.currency)
      end
    returning c.id
  loop
    update booking.alerts a set resolved_at = booking.clock(), resolved_by = 'stripe'
    where a.kind = 'command_dead' and a.subject = v_command.id::text and a.resolved_at is null;
  end loop;
end
$$;

revoke all on function booking.close_fulfilled_commands(uuid) from public;
comment on function booking.close_fulfilled_commands(uuid) is 'Internal: closes dead Stripe commands whose wish has come true in another way';
