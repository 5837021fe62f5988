-- Makes an approved or refunded request pending again: an administrator has to decide anew. Who decided, when and with what
-- note is no longer true of it and goes; the audit trail keeps who and when. Causes: refund_failed (the
-- bank sent it back), refused (by Stripe, for good), exceeds_captured (the money went back in another way before it was
-- sent), dispute_lost. A person is told, unless the refund that failed has told already.
-- Internal: granted to nobody. Locks: the request -> alert (the caller holds booking and payment). Errors: none.
create or replace function booking.reopen_refund_request(p_request_id uuid, p_cause text)
returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_detail jsonb;
begin
  update booking.refund_requests q set status = 'pending', command_id = null, decided_by = null, decided_at = null, note = null
  where q.id = p_request_id and q.status in ('approved', 'refunded')
  returning jsonb_build_object('payment_id', q.payment_id, 'booking_id', q.booking_id, 'amount', q.amount, 'cause', p_cause)
  into v_detail;
  if not found then
    return;
  end if;
  perform booking.audit('refund_request.returned', p_request_id::text,
    case p_cause when 'exceeds_captured' then 'system' else 'stripe' end, v_detail);
  if p_cause <> 'refund_failed' then
    perform booking.raise_alert('refund_request_returned', p_request_id::text, v_detail);
  end if;
end
$$;

revoke all on function booking.reopen_refund_request(uuid, text) from public;
comment on function booking.reopen_refund_request(uuid, text) is 'Internal: makes a refund request pending again, and tells a person';
