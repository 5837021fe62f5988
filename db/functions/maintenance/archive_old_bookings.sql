-- Scrubs personal data (details, free text of the cancellation) from bookings that ended p_age ago, at most
-- p_batch_size at once; ids, times and money stay for audits. Returns how many.
-- Locks: bookings ascending, skipping locked ones. Errors: PT400 invalid_request (DETAIL.field batch_size, age).
create or replace function booking.archive_old_bookings(p_age interval default '90 days', p_batch_size int default 100)
returns int
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_count int;
  v_now timestamptz := booking.clock();
begin
  perform booking.require_batch_size(p_batch_size);
  if p_age is null or p_age < interval '0' then
    perform booking.refuse(400, 'invalid_request', '{"field": "age"}', 'An age is not negative.');
  end if;
  update booking.bookings b
  set details = '{}', scrubbed_at = v_now,
      cancellation_reason = case when b.cancelled_by = 'system' then b.cancellation_reason end
  where b.id in (
    select d.id from booking.bookings d
    where d.closed_at <= v_now - p_age and d.scrubbed_at is null
    order by d.closed_at limit p_batch_size
    for no key update skip locked);
  get diagnostics v_count = row_count;
  return v_count;
end
$$;

revoke all on function booking.archive_old_bookings(interval, int) from public;
grant execute on function booking.archive_old_bookings(interval, int) to booking_cron;
comment on function booking.archive_old_bookings(interval, int) is 'Scrubs personal data from bookings that ended long ago; returns how many';
