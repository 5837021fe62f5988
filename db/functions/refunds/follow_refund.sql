-- Lets a request follow the refund that its command made at Stripe: succeeded -> refunded; failed or canceled -> pending
-- again. A refund's status only moves forward (apply_refund), so the order of arrival never matters. A refund of a
-- command that was given up meanwhile (its request was rejected), and a second one of the same command, are told to a
-- person; their money is in our books all the same.
-- Internal: granted to nobody. Locks: the request -> alert (the caller holds booking and payment). Errors: none.
create or replace function booking.follow_refund(p_stripe_refund_id text)
returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_refund booking.refunds;
  v_request booking.refund_requests;
begin
  select f.* into v_refund from booking.refunds f where f.stripe_refund_id = p_stripe_refund_id;
  select q.* into v_request
  from booking.stripe_commands c join booking.refund_requests q on q.id = c.refund_request_id
  where c.id = v_refund.command_id;
  if v_request.id is null then
    return;
  end if;
  if v_refund.status in ('failed', 'canceled') then
    if v_request.command_id = v_refund.command_id then
      perform booking.reopen_refund_request(v_request.id, 'refund_failed');
    end if;
  elsif v_request.command_id is distinct from v_refund.command_id
    or v_refund.status = 'succeeded' and v_request.status = 'refunded'
  then
    perform booking.raise_alert('refund_unexpected', v_refund.stripe_refund_id, jsonb_build_object('payment_id', v_refund.payment_id,
      'request_id', v_request.id, 'status', v_request.status, 'amount', v_refund.amount));
  elsif v_refund.status = 'succeeded' then
    update booking.refund_requests q set status = 'refunded' where q.id = v_request.id;
    perform booking.audit('refund_request.refunded', v_request.id::text, 'stripe', jsonb_build_object('booking_id', v_request.booking_id,
      'payment_id', v_request.payment_id, 'amount', v_refund.amount, 'currency', v_refund.currency, 'stripe_refund_id', v_refund.stripe_refund_id));
  end if;
end
$$;

revoke all on function booking.follow_refund(text) from public;
comment on function booking.follow_refund(text) is 'Internal: lets a request follow the refund that was made for it';
