-- Applies events of one booking: their objects name it with the words PI, CH, RE, DP and PAYMENT. 'expire' is our
-- own cleanup, 'cancel' the student's word. The second time a list is played, under other ids, stands for Stripe
-- making two events of one fact.
create sequence test.event_numbers;
create function test.play(p_booking uuid, p_events jsonb) returns void language plpgsql volatile as $$
declare
  v_event jsonb;
  v_payment uuid := (test.booking(p_booking)).payment_id;
  v_answer text;
begin
  for v_event in select e from jsonb_array_elements(p_events) e loop
    if v_event ->> 'type' = 'expire' then
      update booking.bookings set created_at = created_at - interval '1 day' where id = p_booking and status = 'pending';
      perform booking.cleanup_expired_bookings(1000, '12 hours');
    else
      v_answer := booking.process_webhook_event(replace(replace(v_event::text, 'PAYMENT', v_payment::text), 'ID',
        replace(v_payment::text, '-', ''))::jsonb || jsonb_build_object('id', 'evt_' || nextval('test.event_numbers')));
      if v_answer not in ('processed', 'ignored') then
        raise exception '% of %', v_answer, v_event;
      end if;
    end if;
  end loop;
end
$$;
create function test.start(p_slot uuid, p_recorded boolean) returns uuid language plpgsql volatile as $$
declare
  v_booking uuid := test.book(p_slot);
begin
  perform booking.prepare_payment_intent(test.student(v_booking), v_booking);
  if p_recorded then
    perform booking.record_payment_intent((test.booking(v_booking)).payment_id, 'pi_' || replace((test.booking(v_booking)).payment_id::text, '-', ''));
  end if;
  return v_booking;
end
$$;
create function test.outcome(p_booking uuid) returns jsonb language sql volatile as $$
  select replace(jsonb_build_object('booking', b.status, 'by', b.cancelled_by, 'payment', p.status, 'captured', p.amount_captured,
    'refunded', p.amount_refunded, 'charge_refunded', p.charge_refunded, 'intent', p.stripe_payment_intent_id,
    'charge', p.stripe_charge_id, 'capture_before', p.capture_before, 'cancelled', p.stripe_cancelled_at is not null,
    'commands', (select jsonb_agg(jsonb_build_array(c.operation, c.status, c.params - 'metadata') order by c.created_at, c.id) from booking.stripe_commands c
                 where c.payment_id = p.id and c.status <> 'done'),
    'ledger', (select jsonb_object_agg(l.kind, l.total) from (
                 select case when t.kind = 'capture' then 'captured' else 'refunded' end as kind,
                   sum(case t.kind when 'refund_reversal' then -t.amount else t.amount end) as total
                 from booking.transfers t where t.payment_id = p.id group by 1
                 having sum(case t.kind when 'refund_reversal' then -t.amount else t.amount end) <> 0) l),
    'refunds', (select jsonb_agg(jsonb_build_array(r.stripe_refund_id, r.amount, r.status, r.failure_reason) order by r.stripe_refund_id)
                from booking.refunds r where r.payment_id = p.id),
    'disputes', (select jsonb_agg(jsonb_build_array(d.stripe_dispute_id, d.amount, d.status) order by d.stripe_dispute_id)
                 from booking.disputes d where d.payment_id = p.id),
    'alerts', (select jsonb_agg(distinct a.kind) from booking.alerts a where a.kind in ('refund_failed', 'dispute', 'stray_payment_intent')
               and (a.detail ->> 'payment_id' = p.id::text))
  )::text, replace(p.id::text, '-', ''), 'ID')::jsonb
  from booking.bookings b join booking.payments p on p.id = b.payment_id where b.id = p_booking
$$;
create function test.tell(p_slot uuid, p_recorded boolean, p_events jsonb) returns jsonb language plpgsql volatile as $$
declare
  v_booking uuid := test.start(p_slot, p_recorded);
begin
  perform test.play(v_booking, p_events);
  return test.outcome(v_booking);
end
$$;
