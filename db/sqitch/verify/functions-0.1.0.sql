-- Verify pgbooking:functions-0.1.0 on pg
BEGIN;
do $verify$
declare
  v_missing text;
begin
  select pg_catalog.string_agg(wanted.name, ', ') into v_missing
  from pg_catalog.unnest(array[
    'cancel_booking_transaction',
    'cancellation_terms',
    'close_booking',
    'confirm_booking_transaction',
    'create_booking_transaction',
    'create_session',
    'get_booking',
    'list_bookings',
    'list_open_slots',
    'lock_booking',
    'mark_confirmed',
    'party_of',
    'publish_slot',
    'quote_cancellation',
    'take_class_seat',
    'clock',
    'currency_step',
    'forbid_change',
    'keep_booking',
    'keep_payment',
    'new_id',
    'percent_of',
    'raise_alert',
    'refuse',
    'require_person',
    'set_updated_at',
    'shard_of',
    'archive_old_bookings',
    'booking_timeout',
    'clean_expired_idempotency_keys',
    'cleanup_expired_bookings',
    'cleanup_old_webhook_events',
    'cleanup_orphaned_slots',
    'complete_past_bookings',
    'is_maintenance_due',
    'note_maintenance_run',
    'require_batch_size',
    'run_maintenance',
    'schedule_maintenance',
    'apply_dispute',
    'apply_payment_status',
    'apply_refund',
    'apply_stripe_object',
    'claim_stripe_command',
    'claim_stripe_commands',
    'close_fulfilled_commands',
    'command_key',
    'complete_stripe_command',
    'fail_stripe_command',
    'get_stripe_command_status',
    'keep_books',
    'lock_payment',
    'lose_hold',
    'payment_of',
    'prepare_payment_intent',
    'queue_stripe_command',
    'record_payment_intent',
    'refunds_counted',
    'release_stray_intent',
    'report_stripe_key_refused',
    'require_lease',
    'retry_stripe_command',
    'settle_payment',
    'check_invariants',
    'get_booking_stats',
    'get_readiness',
    'list_alerts',
    'resolve_alert',
    'roll_up_stats',
    'is_webhook_processed',
    'process_webhook_event',
    'retry_failed_webhooks'
  ]) as wanted(name)
  where not exists (
    select from pg_catalog.pg_proc p
    where p.pronamespace = 'booking'::regnamespace and p.proname = wanted.name
  );
  if v_missing is not null then
    raise exception 'missing in schema booking: %', v_missing;
  end if;
end
$verify$;
ROLLBACK;
