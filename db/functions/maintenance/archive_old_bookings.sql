-- Scrubs personal data (details, free text of the cancellation) from bookings that ended p_age ago, at most
-- p_batch_size at once; ids, times and money stay for audits. Returns how many bookings. The words of refund requests go
-- with their booking; those that are not decided by then, and those written later, go p_age after they were written; those of
-- a request that came back (reopen_refund_request) p_age after that, since a person has to decide on them anew.
-- What it did is in the audit log (retention.bookings_scrubbed).
-- Locks: bookings ascending, skipping locked ones -> refund requests. Errors: PT400 invalid_request (DETAIL.field batch_size, age).
create or replace function booking.archive_old_bookings(p_age interval default '90 days', p_batch_size int default 100)
returns int
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set jit = off
as $$
declare
  v_payments uuid[];
  v_now timestamptz := booking.clock();
begin
  perform booking.require_batch_size(p_batch_size);
  if p_age is null or p_age < interval '0' then
    perform booking.refuse(400, 'invalid_request', '{"field": "age"}', 'An age is not negative.');
  end if;
  with scrubbed as (
    update booking.bookings b
    set details = '{}', scrubbed_at = v_now,
        cancellation_reason = case when b.cancelled_by = 'system' then b.cancellation_reason end
    where b.id in (
      select d.id from booking.bookings d
      where d.closed_at <= v_now - p_age and d.scrubbed_at is null
      order by d.closed_at limit p_batch_size
      for no key update skip locked)
    returning b.payment_id)
  select coalesce(array_agg(s.payment_id), '{}') into v_payments from scrubbed s;

  update booking.refund_requests q set reason = null, note = null
  where q.payment_id = any (v_payments) and q.status in ('rejected', 'refunded')
    and (q.reason is not null or q.note is not null)
    -- not those of the booking that seated the student of a scrubbed hold again: it may have ended much later
    and exists (select from booking.bookings b where b.id = q.booking_id and b.scrubbed_at is not null);
  update booking.refund_requests q set reason = null, note = null
  where q.id in (
    select d.id from booking.refund_requests d
    where (d.reason is not null or d.note is not null)
      and coalesce(d.decided_at, d.created_at) <= v_now - p_age
      and (d.status <> 'pending' or d.updated_at <= v_now - p_age) -- a return clears decided_at
      and exists (select from booking.bookings b where b.id = d.booking_id and b.scrubbed_at is not null)
    order by coalesce(d.decided_at, d.created_at) limit 10 * p_batch_size
    for no key update skip locked);
  if cardinality(v_payments) > 0 then
    perform booking.audit('retention.bookings_scrubbed', 'bookings', null,
      jsonb_build_object('count', cardinality(v_payments), 'ended_until', v_now - p_age));
  end if;
  return cardinality(v_payments);
end
$$;

revoke all on function booking.archive_old_bookings(interval, int) from public;
grant execute on function booking.archive_old_bookings(interval, int) to booking_cron;
comment on function booking.archive_old_bookings(interval, int) is 'Scrubs personal data from bookings that ended long ago; returns how many';
