-- Brings amount_refunded, the refund statuses and the ledger in line with the facts at hand:
--   refunded = refunds that have not failed + what the charge's total shows beyond all refunds we know one by one;
--   the ledger gets the difference to what it holds already: capture, refund, or the reversal of a refund that failed;
--   invoice and credit notes follow, where there is an invoice.
-- Internal: granted to nobody. Locks: the invoice series, where a credit note is made (the caller holds the payment). Errors: none.
create or replace function booking.keep_books(p_payment_id uuid, p_source text)
returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_payment booking.payments;
  v_refunded bigint;
  v_capture bigint;
  v_refund bigint;
  v_expert text;
  v_now timestamptz := booking.clock();
begin
  select p.* into v_payment from booking.payments p where p.id = p_payment_id;
  if v_payment.amount_captured = 0 then
    return;
  end if;
  select least(v_payment.amount_captured,
    coalesce(sum(f.amount) filter (where f.status not in ('failed', 'canceled')), 0)
    + greatest(0, v_payment.charge_refunded - coalesce(sum(f.amount), 0)))
  into v_refunded
  from booking.refunds f where f.payment_id = p_payment_id;
  if v_refunded <> v_payment.amount_refunded then
    update booking.payments p
    set amount_refunded = v_refunded,
        status = case when v_refunded = 0 then 'captured' when v_refunded < p.amount_captured then 'partially_refunded'
                      else 'refunded' end::booking.payment_status
    where p.id = p_payment_id;
  elsif v_payment.status = 'captured' and v_refunded > 0
     or v_payment.status = 'refunded' and v_refunded < v_payment.amount_captured
  then
    update booking.payments p set status = 'partially_refunded' where p.id = p_payment_id; -- captured more meanwhile
  end if;

  select v_payment.amount_captured - coalesce(sum(t.amount) filter (where t.kind = 'capture'), 0),
    v_refunded - coalesce(sum(t.amount) filter (where t.kind = 'refund'), 0)
               + coalesce(sum(t.amount) filter (where t.kind = 'refund_reversal'), 0)
  into v_capture, v_refund
  from booking.transfers t where t.payment_id = p_payment_id;
  if v_capture = 0 and v_refund = 0 then
    return;
  end if;
  select 'expert:' || b.expert_id into v_expert from booking.bookings b where b.id = v_payment.booking_id;
  insert into booking.transfers (payment_id, kind, debit_account, credit_account, amount, currency, source, created_at)
  select p_payment_id, m.kind, m.debit, m.credit, m.amount, v_payment.currency, p_source, v_now
  from (values
    ('capture', 'stripe', v_expert, v_capture),
    ('refund', v_expert, 'stripe', v_refund),
    ('refund_reversal', 'stripe', v_expert, -v_refund)) m (kind, debit, credit, amount)
  where m.amount > 0;
  insert into booking.stat_deltas (metric, at, currency, quantity, amount)
  select m.metric, v_now, v_payment.currency, 1, m.amount
  from (values ('captured'::booking.stat_metric, v_capture), ('refunded', v_refund)) m (metric, amount)
  where m.amount <> 0;
  perform booking.keep_invoices(p_payment_id);
end
$$;

revoke all on function booking.keep_books(uuid, text) from public;
comment on function booking.keep_books(uuid, text) is 'Internal: brings refunded amounts and the ledger in line with the facts at hand';
