-- booking.set_updated_at(): updated_at is the database's, whoever writes.
select * from no_plan();
create temp table b as select test.captured_booking('30 hours') as id;
do $$ begin
  perform test.event('refund.created', test.refund((select id from b), 100));
  perform test.event('charge.dispute.created', jsonb_build_object('id', 'dp_1', 'object', 'dispute', 'amount', 5000, 'currency', 'usd',
    'status', 'needs_response', 'payment_intent', test.intent_id((select id from b))));
end $$;
do $$ begin perform booking.begin_reconciliation('2026-03-01', '2026-03-02'); end $$;
do $$ begin perform test.make_product(); end $$;
create function pg_temp.touched(p_table text) returns text language plpgsql as $$
declare
  v_count int;
begin
  perform test.set_clock('2031-01-01 00:00Z');
  execute 'set local role booking_owner';
  execute format('update booking.%I set updated_at = ''2000-01-01''', p_table);
  get diagnostics v_count = row_count;
  execute format('select count(*) from booking.%I where updated_at = ''2031-01-01 00:00Z'' having count(*) > 0', p_table) into v_count;
  execute 'reset role';
  return ok(v_count > 0, 'the owner cannot set ' || p_table || '.updated_at: it is the time of the change');
end
$$;
select pg_temp.touched(t) from unnest(array['sessions', 'products', 'slots', 'refunds', 'disputes', 'stripe_commands', 'webhook_events',
  'bookings', 'payments', 'reconciliation_runs']) t;
select set_eq(
  $$ select c.relname::text from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attname = 'updated_at'
     where c.relnamespace = 'booking'::regnamespace and c.relkind = 'r'
       and not exists (select from pg_trigger t where t.tgrelid = c.oid and t.tgenabled = 'O'
         and t.tgfoid in ('booking.set_updated_at'::regproc, 'booking.keep_booking'::regproc, 'booking.keep_command'::regproc, 'booking.keep_payment'::regproc, 'booking.keep_order'::regproc,
           'booking.keep_refund_request'::regproc, 'booking.keep_invoice'::regproc)
         and pg_get_triggerdef(t.oid) like '%BEFORE %UPDATE ON%FOR EACH ROW%') $$,
  array['webhook_events_archive'], 'every table with that column keeps it; the archive keeps the time of what it copied');
select * from finish();
