-- An administrator approves or rejects a refund request. Approving looks once more whether the money is there, and sends
-- it to Stripe through the outbox in the same commit. The same decision again changes nothing and returns the row as it is.
-- An approved request whose command is dead may still be rejected, once a person has seen that Stripe did not refund it (or
-- paid it by hand): the command is closed. p_note is kept with the request, shown to its student, and scrubbed with the booking.
-- command_id: the request's own refund; until that is queued, the open command of the payment that must be known first.
-- Locks: booking -> payment -> request -> outbox insert -> alert.
-- Errors: PT400 invalid_request (DETAIL.field admin_id, note), invalid_decision (DETAIL.decision) ·
--   PT404 refund_request_not_found · PT409 already_processed (DETAIL.status), payment_disputed,
--   refund_exceeds_captured (DETAIL.amount, refundable, currency).
create or replace function booking.decide_refund_request(
  p_admin_id text,
  p_request_id uuid,
  p_decision text,
  p_note text default null
)
returns table (
  request_id uuid,
  status booking.refund_request_status,
  refund_amount bigint,
  payment_status booking.payment_status,
  command_id uuid
)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set jit = off
as $$
#variable_conflict use_column
declare
  v_booking booking.bookings;
  v_request booking.refund_requests;
  v_refundable bigint;
  v_open uuid;
  v_dead uuid;
  v_status constant booking.refund_request_status :=
    (case p_decision when 'approve' then 'approved' else 'rejected' end)::booking.refund_request_status;
  v_is_new boolean;
  v_now timestamptz;
begin
  perform booking.require_person('admin_id', p_admin_id);
  if p_decision is null or p_decision not in ('approve', 'reject') then
    perform booking.refuse(400, 'invalid_decision', jsonb_build_object('field', 'decision', 'decision', p_decision),
      'The decision is approve or reject.');
  end if;
  if length(p_note) > 1000 then
    perform booking.refuse(400, 'invalid_request', '{"field": "note"}', 'A note has at most 1,000 characters.');
  end if;
  v_booking := booking.lock_payment((select q.payment_id from booking.refund_requests q where q.id = p_request_id), false);
  if v_booking.id is null then
    perform booking.refuse(404, 'refund_request_not_found', jsonb_build_object('request_id', p_request_id),
      'Check the request''s id.');
  end if;
  select q.* into v_request from booking.refund_requests q where q.id = p_request_id for no key update;
  v_now := booking.clock();

  if p_decision = 'reject' and v_request.status = 'approved' then
    update booking.stripe_commands c set status = 'done', outcome = 'superseded'
    where c.id = v_request.command_id and c.status = 'dead';
    if found then
      v_dead := v_request.command_id;
      update booking.refund_requests q
      set status = 'pending', command_id = null, decided_by = null, decided_at = null, note = null
      where q.id = p_request_id;
      v_request.status := 'pending';
    end if;
  end if;
  v_is_new := v_request.status = 'pending';
  if not v_is_new and (v_status = 'rejected') <> (v_request.status = 'rejected') then
    perform booking.refuse(409, 'already_processed', jsonb_build_object('request_id', p_request_id, 'status', v_request.status),
      'The request was decided the other way before.');
  end if;

  if v_is_new and p_decision = 'approve' then
    if booking.is_refund_held(v_request.payment_id) then
      perform booking.refuse(409, 'payment_disputed', jsonb_build_object('request_id', p_request_id),
        'The payment is disputed at the bank: the dispute decides first.');
    end if;
    v_refundable := booking.refundable_amount(v_request.payment_id, p_request_id);
    if v_request.amount > v_refundable then
      perform booking.refuse(409, 'refund_exceeds_captured',
        jsonb_build_object('request_id', p_request_id, 'amount', v_request.amount, 'refundable', v_refundable,
          'currency', v_request.currency),
        'The money has gone back in another way meanwhile: reject the request.');
    end if;
  end if;
  if v_is_new then
    update booking.refund_requests q
    set status = v_status, decided_by = p_admin_id, decided_at = v_now, note = p_note,
        -- what was sent while the booking lived, and failed, counts towards the policy (refunds_counted): its next attempt, too
        beyond_policy = case
          when exists (select from booking.stripe_commands c join booking.refunds f on f.command_id = c.id
                       where c.payment_id = q.payment_id and c.refund_request_id = q.id) then q.beyond_policy
          else v_booking.status in ('declined', 'cancelled') end
    where q.id = p_request_id;
    perform booking.audit('refund_request.' || v_status, p_request_id::text, p_admin_id,
      jsonb_build_object('booking_id', v_request.booking_id, 'payment_id', v_request.payment_id, 'amount', v_request.amount,
        'currency', v_request.currency));
    v_open := booking.settle_payment(v_booking.id);
    update booking.alerts a set resolved_at = v_now, resolved_by = p_admin_id
    where a.resolved_at is null
      and (a.kind = 'refund_request_returned' and a.subject = p_request_id::text
           or a.kind = 'refund_failed' and a.detail ->> 'request_id' = p_request_id::text
           or a.kind = 'command_dead' and a.subject = v_dead::text);
  end if;

  return query
    select q.id, q.status, q.amount, p.status, coalesce(q.command_id, case when q.status = 'approved' then v_open end)
    from booking.refund_requests q join booking.payments p on p.id = q.payment_id
    where q.id = p_request_id;
end
$$;

revoke all on function booking.decide_refund_request(text, uuid, text, text) from public;
grant execute on function booking.decide_refund_request(text, uuid, text, text) to booking_app;
comment on function booking.decide_refund_request(text, uuid, text, text) is
  'An administrator approves (the refund is queued in the same commit) or rejects a refund request';
