-- All maintenance, in batches, committing between them: orphaned seats, expired and past bookings, failed and old webhook
-- events, personal data, idempotency keys, locks and lost orders of Checkout, statistics. One part that fails does not keep the others from running; at the
-- end the failures are raised together, so that pg_cron shows the run as failed. Call it outside a transaction.
-- What one run does stands in the audit trail under one request id: the one that the session has set, else maintenance-<uuid>.
-- Neither security definer nor with settings: such a procedure could not commit. Every name is qualified instead.
-- Locks: those of the functions it calls, never longer than a batch. Errors: PT500 maintenance_failed (DETAIL by part).
create or replace procedure booking.run_maintenance()
language plpgsql
as $$
declare
  v_parts constant text[] := array[
    'cleanup_orphaned_slots', -- first: freeing a seat fails where its counter is too low
    'cleanup_expired_bookings', 'complete_past_bookings', 'retry_failed_webhooks',
    'cleanup_old_webhook_events', 'archive_old_bookings', 'clean_expired_idempotency_keys', 'clean_expired_locks', 'expire_lost_orders',
    'roll_up_stats'];
  v_part text;
  v_count int;
  v_failures jsonb := pg_catalog.jsonb_build_object();
  v_request text := pg_catalog.current_setting('booking.request_id', true);
begin
  if v_request is null or v_request OPERATOR(pg_catalog.=) '' then
    v_request := 'maintenance-' OPERATOR(pg_catalog.||) pg_catalog.gen_random_uuid()::text;
  end if;
  perform booking.note_maintenance_run();
  commit;
  foreach v_part in array v_parts loop
    loop
      perform pg_catalog.set_config('booking.request_id', v_request, true); -- for one batch: a commit ends it
      begin
        v_count := case v_part
          when 'cleanup_expired_bookings' then booking.cleanup_expired_bookings(p_timeout => booking.booking_timeout())
          when 'complete_past_bookings' then booking.complete_past_bookings()
          when 'cleanup_old_webhook_events' then (select w.archived + w.deleted from booking.cleanup_old_webhook_events() w)
          when 'archive_old_bookings' then booking.archive_old_bookings()
          when 'clean_expired_idempotency_keys' then booking.clean_expired_idempotency_keys()
          when 'clean_expired_locks' then booking.clean_expired_locks()
          when 'expire_lost_orders' then booking.expire_lost_orders()
          when 'roll_up_stats' then booking.roll_up_stats()
          when 'cleanup_orphaned_slots' then booking.cleanup_orphaned_slots()
          when 'retry_failed_webhooks' then booking.retry_failed_webhooks()
        end;
      exception when others then
        v_failures := v_failures OPERATOR(pg_catalog.||) pg_catalog.jsonb_build_object(v_part, sqlerrm);
        v_count := 0;
      end;
      commit;
      exit when v_count OPERATOR(pg_catalog.=) 0 or v_part OPERATOR(pg_catalog.=) any (array['cleanup_orphaned_slots', 'retry_failed_webhooks']);
    end loop;
  end loop;
  if v_failures OPERATOR(pg_catalog.<>) pg_catalog.jsonb_build_object() then
    raise exception using errcode = 'PT500', message = 'maintenance_failed', detail = v_failures::text,
      hint = 'The other parts have run; see DETAIL for the parts that failed.';
  end if;
end
$$;

revoke all on procedure booking.run_maintenance() from public;
grant execute on procedure booking.run_maintenance() to booking_cron;
comment on procedure booking.run_maintenance() is 'All maintenance in batches, committing between them; run it every few minutes';
