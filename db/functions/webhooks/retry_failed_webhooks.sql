-- Applies events again whose effect could not be applied, the least tried first, so that a poisoned one holds nobody
-- back; after settings.webhook_max_attempts an event is left to a person. Returns how many succeeded.
-- An event whose booking or order somebody else works on is left to the next run: it never waits with the locks of earlier events.
-- Locks: one event after the other, each with its seat counters -> booking -> payment, skipping locked ones -> as
-- process_webhook_event. Of an order: with its orders, skipping locked ones -> as process_webhook_event.
-- Errors: PT400 invalid_request.
create or replace function booking.retry_failed_webhooks(p_limit int default 100)
returns int
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set jit = off
as $$
declare
  v_id text;
  v_payload jsonb;
  v_booking booking.bookings;
  v_orders uuid[];
  v_seats int;
  v_locked int;
  v_count int := 0;
begin
  if p_limit is null or p_limit not between 1 and 10000 then
    perform booking.refuse(400, 'invalid_request', '{"field": "limit"}', 'Retry 1 to 10,000 events at once.');
  end if;
  for v_id in
    select w.stripe_event_id from booking.webhook_events w, booking.settings s
    where w.status = 'failed' and w.attempts < s.webhook_max_attempts
    order by w.attempts, w.received_at
    limit p_limit
  loop
    select w.payload into v_payload from booking.webhook_events w
    where w.stripe_event_id = v_id and w.status = 'failed'
    for no key update skip locked;
    continue when not found;
    v_orders := booking.order_kin(booking.order_of(v_payload #> '{data,object}'));
    if v_payload ->> 'type' like 'checkout.session.%' and v_orders is not null then
      perform from booking.orders o where o.id = any (v_orders) order by o.id for no key update skip locked;
      get diagnostics v_locked = row_count;
      continue when v_locked < cardinality(v_orders);
    end if;
    select b.* into v_booking
    from booking.payment_of(v_payload #> '{data,object}', v_payload ->> 'type') f
    join booking.payments p on p.id = f.payment_id
    join booking.bookings b on b.id = p.booking_id;
    if found then
      -- a lapsed hold may be seated again, at any counter of its slot
      v_seats := (select count(*) from booking.slot_seats q
                  where q.slot_id = v_booking.slot_id and (q.part = v_booking.seat_part or booking.is_lapsed_hold(v_booking)));
      perform from booking.slot_seats q
      where q.slot_id = v_booking.slot_id and (q.part = v_booking.seat_part or booking.is_lapsed_hold(v_booking))
      order by q.part
      for no key update skip locked;
      get diagnostics v_locked = row_count;
      continue when v_locked < v_seats;
      perform from booking.bookings b where b.id = v_booking.id and b.status = v_booking.status for no key update skip locked;
      continue when not found;
      perform from booking.payments p where p.id = v_booking.payment_id and p.booking_id = v_booking.id
      for no key update skip locked;
      continue when not found;
    end if;
    if booking.process_webhook_event(v_payload) in ('processed', 'ignored') then
      v_count := v_count + 1;
    end if;
  end loop;
  return v_count;
end
$$;

revoke all on function booking.retry_failed_webhooks(int) from public;
grant execute on function booking.retry_failed_webhooks(int) to booking_app, booking_cron, booking_dba;
comment on function booking.retry_failed_webhooks(int) is 'Applies failed Stripe events again; returns how many succeeded';
