-- Every function of the schema, present and future: who may call it, with whose rights, on which search_path.
-- A new function is added to this table, or the first test fails.
select * from no_plan();
create temp table expected (signature text, roles text, volatility text);
insert into expected values
  ('cancel_booking_transaction(text,uuid,text)', 'app', 'volatile'),
  ('claim_stripe_command(uuid,text,interval)', 'app', 'volatile'),
  ('claim_stripe_commands(text,integer,interval,interval)', 'app', 'volatile'),
  ('complete_stripe_command(uuid,text,jsonb)', 'app', 'volatile'),
  ('confirm_booking_transaction(text,uuid,text,text)', 'app', 'volatile'),
  ('create_booking_transaction(text,uuid,uuid,text,jsonb)', 'app', 'volatile'),
  ('create_session(text,text,bigint,text)', 'app', 'volatile'),
  ('fail_stripe_command(uuid,text,jsonb,boolean,interval)', 'app', 'volatile'),
  ('prepare_payment_intent(text,uuid,bigint)', 'app', 'volatile'),
  ('prepare_class_payment(text,uuid,bigint,text)', 'app', 'volatile'),
  ('confirm_class_booking(text,uuid,jsonb)', 'app', 'volatile'),
  ('seat_student(booking.bookings)', '', 'volatile'),
  ('reseat_booking(booking.bookings)', '', 'volatile'),
  ('lock_free_seat(uuid)', '', 'volatile'),
  ('is_lapsed_hold(booking.bookings)', '', 'immutable'),
  ('process_webhook_event(jsonb)', 'app', 'volatile'),
  ('publish_slot(text,uuid,timestamptz,timestamptz,integer,text)', 'app', 'volatile'),
  ('record_payment_intent(uuid,text)', 'app', 'volatile'),
  ('report_stripe_key_refused(integer,text)', 'app', 'volatile'),
  ('request_refund(text,uuid,bigint,text)', 'app', 'volatile'),
  ('decide_refund_request(text,uuid,text,text)', 'app', 'volatile'),
  ('get_refund_request(uuid)', 'app', 'stable'),
  ('list_refund_requests(text,uuid,integer)', 'app dba', 'stable'),
  ('list_own_refund_requests(text,text,uuid,integer)', 'app', 'stable'),
  ('validate_refund_amount(uuid,bigint)', 'app dba', 'stable'),
  ('refunds_promised(uuid)', '', 'stable'),
  ('policy_due(uuid)', '', 'stable'),
  ('is_refund_held(uuid)', '', 'stable'),
  ('refundable_amount(uuid,uuid)', '', 'stable'),
  ('keep_refund_request()', '', 'volatile'),
  ('reopen_refund_request(uuid,text)', '', 'volatile'),
  ('follow_refund(text)', '', 'volatile'),
  ('get_booking(text,uuid)', 'app', 'stable'),
  ('get_stripe_command_status(uuid)', 'app', 'stable'),
  ('get_command_booking(uuid)', 'app', 'volatile'),
  ('is_webhook_processed(text)', 'app', 'stable'),
  ('list_bookings(text,text,uuid,integer)', 'app', 'stable'),
  ('list_open_slots(timestamptz,timestamptz,text,uuid,integer)', 'app', 'stable'),
  ('quote_cancellation(text,uuid)', 'app', 'stable'),
  ('begin_checkout(text,text,text,text)', 'app', 'volatile'),
  ('finish_checkout(uuid,text,text,text)', 'app', 'volatile'),
  ('abort_checkout(uuid,text,text)', 'app', 'volatile'),
  ('report_checkout_conflict()', 'app', 'volatile'),
  ('create_product(text,text,bigint,text)', 'app dba', 'volatile'),
  ('get_product(text)', 'app dba', 'stable'),
  ('get_order(text,uuid)', 'app', 'stable'),
  ('get_checkout_stats(timestamptz,timestamptz)', 'app dba', 'stable'),
  ('try_acquire_lock(text,text,text,text,interval)', 'app', 'volatile'),
  ('release_lock(text,text)', 'app', 'volatile'),
  ('has_active_lock(text)', 'app', 'stable'),
  ('clean_expired_locks()', 'cron', 'volatile'),
  ('expire_lost_orders(integer)', 'cron', 'volatile'),
  ('apply_checkout_session(jsonb,text)', '', 'volatile'),
  ('close_expiry_commands(uuid)', '', 'volatile'),
  ('queue_session_expiry(uuid)', '', 'volatile'),
  ('lock_order(uuid)', '', 'volatile'),
  ('keep_order()', '', 'volatile'),
  ('order_kin(uuid)', '', 'stable'),
  ('order_of(jsonb)', '', 'stable'),
  ('checkout_lock_key(text,text)', '', 'immutable'),
  ('archive_old_bookings(interval,integer)', 'cron', 'volatile'),
  ('clean_expired_idempotency_keys()', 'cron', 'volatile'),
  ('cleanup_expired_bookings(integer,interval)', 'cron', 'volatile'),
  ('cleanup_old_webhook_events(interval,interval)', 'cron', 'volatile'),
  ('cleanup_orphaned_slots()', 'cron', 'volatile'),
  ('complete_past_bookings(integer)', 'cron', 'volatile'),
  ('get_booking_stats(timestamptz,timestamptz)', 'app dba', 'volatile'),
  ('get_readiness()', 'app dba', 'stable'),
  ('currency_step(text)', 'app dba', 'immutable'),
  ('percent_of(bigint,integer,text)', 'app dba', 'immutable'),
  ('issue_invoice(uuid)', 'app dba', 'volatile'),
  ('issue_missing_invoices(integer)', 'app cron dba', 'volatile'),
  ('count_missing_invoices()', 'app cron dba', 'stable'),
  ('correct_invoice(text,uuid,jsonb,text)', 'app dba', 'volatile'),
  ('get_invoice(text,uuid,integer,boolean)', 'app dba', 'stable'),
  ('search_invoices(text,boolean,text,text,timestamptz,timestamptz,text,text,uuid,integer)', 'app dba', 'stable'),
  ('currency_decimals(text)', 'app dba', 'immutable'),
  ('list_alerts(boolean)', 'dba', 'stable'),
  ('list_open_commands(integer)', 'dba', 'stable'),
  ('trace(text)', 'dba', 'stable'),
  ('check_invariants()', 'dba', 'stable'),
  ('resolve_alert(bigint,text)', 'dba', 'volatile'),
  ('retry_stripe_command(uuid,text)', 'dba', 'volatile'),
  ('retry_failed_webhooks(integer)', 'app cron dba', 'volatile'),
  ('roll_up_stats()', 'app cron dba', 'volatile'),
  ('is_maintenance_due(interval)', 'app cron', 'stable'),
  ('note_maintenance_run()', 'cron', 'volatile'),
  ('booking_timeout()', 'app cron dba', 'stable'),
  ('run_maintenance()', 'cron', 'volatile'),
  ('schedule_maintenance(text)', 'cron', 'volatile'),
  ('clock()', 'app cron dba', 'volatile'),
  ('new_id(text)', 'app cron dba', 'volatile'),
  ('new_id(uuid)', 'app cron dba', 'volatile'),
  ('shard_of(uuid)', 'app cron dba', 'immutable'),
  ('on_request(text,text)', 'app dba', 'volatile'),
  ('audit_trail(timestamptz,timestamptz,text,text)', 'dba', 'stable'),
  ('begin_reconciliation(timestamptz,timestamptz,text)', 'app dba', 'volatile'),
  ('record_stripe_objects(uuid,jsonb)', 'app dba', 'volatile'),
  ('list_doubtful_payments(uuid)', 'app dba', 'volatile'),
  ('finish_reconciliation(uuid)', 'app dba', 'volatile'),
  ('get_reconciliation(uuid)', 'app dba', 'stable'),
  ('claim_unknown_command(text,interval,uuid)', 'app', 'volatile'),
  ('compare_with_stripe(uuid)', '', 'stable'),
  ('lock_reconciliation(uuid,boolean)', '', 'volatile'),
  ('audit(text,text,text,jsonb)', '', 'volatile'),
  ('audit_settings()', '', 'volatile'),
  ('audit_status()', '', 'volatile'),
  ('apply_dispute(uuid,jsonb,timestamptz)', '', 'volatile'),
  ('apply_payment_status(booking.payments,text,bigint,timestamptz,jsonb)', '', 'volatile'),
  ('apply_refund(uuid,jsonb,text)', '', 'volatile'),
  ('apply_stripe_object(jsonb,text,timestamptz,text,uuid,text,boolean)', '', 'volatile'),
  ('close_booking(uuid,booking.booking_status,booking.booking_status,text,text,text,text,integer,timestamptz)', '', 'volatile'),
  ('forbid_change()', '', 'volatile'),
  ('keep_booking()', '', 'volatile'),
  ('keep_booking_facts()', '', 'volatile'),
  ('keep_command()', '', 'volatile'),
  ('keep_stat_periods()', '', 'volatile'),
  ('rebuild_stat_periods()', '', 'volatile'),
  ('keep_books(uuid,text)', '', 'volatile'),
  ('keep_payment()', '', 'volatile'),
  ('keep_payment_facts()', '', 'volatile'),
  ('keep_webhook_event()', '', 'volatile'),
  ('apply_hold(jsonb)', '', 'volatile'),
  ('apply_capture(uuid,jsonb,text)', '', 'volatile'),
  ('audit_payment()', '', 'volatile'),
  ('keep_prices()', '', 'volatile'),
  ('keep_settings()', '', 'volatile'),
  ('keep_invoice()', '', 'volatile'),
  ('keep_invoices(uuid)', '', 'volatile'),
  ('make_invoice(uuid)', '', 'volatile'),
  ('write_invoice(booking.payments,booking.invoices,booking.invoice_versions,bigint,bigint)', '', 'volatile'),
  ('add_invoice_version(booking.invoices,jsonb,bigint,bigint,text,text,text)', '', 'volatile'),
  ('next_invoice_number(text)', '', 'volatile'),
  ('included_tax(bigint,integer,text)', '', 'immutable'),
  ('lock_booking(uuid,boolean)', '', 'volatile'),
  ('lock_payment(uuid,boolean)', '', 'volatile'),
  ('lose_hold(uuid,timestamptz)', '', 'volatile'),
  ('mark_confirmed(uuid,text,text,timestamptz)', '', 'volatile'),
  ('queue_stripe_command(uuid,text,text,bigint)', '', 'volatile'),
  ('raise_alert(text,text,jsonb)', '', 'volatile'),
  ('refuse(integer,text,jsonb,text)', '', 'volatile'),
  ('release_stray_intent(uuid,text,bigint)', '', 'volatile'),
  ('revive_payment(jsonb)', '', 'volatile'),
  ('set_updated_at()', '', 'volatile'),
  ('settle_payment(uuid)', '', 'volatile'),
  ('refuse_booking(text,uuid,uuid,text)', '', 'stable'),
  ('take_class_seat(uuid,integer)', '', 'volatile'),
  ('close_fulfilled_commands(uuid)', '', 'volatile'),
  ('payment_of(jsonb,text,uuid,text)', '', 'stable'),
  ('cancellation_terms(booking.bookings,boolean,timestamptz)', '', 'stable'),
  ('party_of(booking.bookings,uuid,text)', '', 'stable'),
  ('refunds_counted(uuid)', '', 'stable'),
  ('command_key(uuid,integer)', '', 'immutable'),
  ('require_batch_size(integer)', '', 'immutable'),
  ('require_price(bigint,text)', '', 'immutable'),
  ('await_standby()', '', 'volatile'),
  ('require_refund_request_page(text,integer)', '', 'stable'),
  ('require_lease(text,interval)', '', 'immutable'),
  ('require_person(text,text)', '', 'immutable');

-- a procedure that commits, functions that are inlined, and what pg_cron must register for a role that can log in
create temp table exceptions (name text);
insert into exceptions values ('run_maintenance'), ('schedule_maintenance'), ('clock'), ('new_id'), ('shard_of'), ('command_key');

create temp table functions as
select p.oid, p.proname::text as name, p.oid::regprocedure as signature, p.proowner::regrole::text as owner, p.prosecdef, p.proconfig, p.proacl, p.prosrc,
  p.prokind, case p.provolatile when 'v' then 'volatile' when 's' then 'stable' else 'immutable' end as volatility,
  (select l.lanname::text from pg_language l where l.oid = p.prolang) as language,
  coalesce((select string_agg(replace(a.grantee::regrole::text, 'booking_', ''), ' ' order by a.grantee::regrole::text)
            from aclexplode(p.proacl) a where a.grantee <> p.proowner and a.grantee <> 0 and a.privilege_type = 'EXECUTE'), '') as roles
from pg_proc p where p.pronamespace = 'booking'::regnamespace;

select set_eq('select signature::text from functions', $$ select ('booking.' || signature)::regprocedure::text from expected $$,
  'every function has its line above, and every line its function');
select is(f.roles, e.roles, format('%s is granted to: %s', f.signature, coalesce(nullif(e.roles, ''), 'nobody')))
from expected e join functions f on f.signature = ('booking.' || e.signature)::regprocedure order by 1;
select is(f.volatility, e.volatility, format('%s is %s', f.signature, e.volatility))
from expected e join functions f on f.signature = ('booking.' || e.signature)::regprocedure order by 1;

select is_empty($$ select signature from functions where owner <> 'booking_owner' $$, 'booking_owner owns each');
select is_empty($$ select signature from functions where proacl is null or exists (select from aclexplode(proacl) a where a.grantee = 0) $$,
  'none may be called by everybody');
select is_empty($$ select f.signature, a.grantee::regrole from functions f, aclexplode(f.proacl) a where a.is_grantable and a.grantee <> 'booking_owner'::regrole $$,
  'nobody may pass his right on');
select is_empty($$ select signature from functions where (not prosecdef or not 'search_path=pg_catalog, pg_temp' = any (coalesce(proconfig, '{}')))
    and name not in (select name from exceptions) $$, 'each works with the rights of its owner, on a search_path that nobody can bend, pg_temp last');
select set_eq($$ select name from functions where not prosecdef $$, 'select name from exceptions', 'the exceptions are the ones that are known by name');
select is_empty($$ select signature from functions where not prosecdef and proconfig is not null $$, 'and these have no settings, or they could not commit or be inlined');
select is_empty($$ select signature from functions where not prosecdef and prosrc ~* '(from|join|into|update|delete from) +(?!pg_catalog\.|booking\.|v_|\()[a-z_]+' and name <> 'new_id' $$,
  'the exceptions qualify every relation');
select is_empty($$ select signature from functions where obj_description(oid, 'pg_proc') is null $$, 'each has a comment');
select is_empty($$ select signature, a from functions, unnest((select coalesce(p.proargnames, '{}') from pg_proc p where p.oid = functions.oid)) with ordinality u (a, n)
    where n <= (select p.pronargs from pg_proc p where p.oid = functions.oid) and a !~ '^p_[a-z_]+$' $$, 'every parameter has a name that begins with p_');
select is_empty($$ select signature from functions where volatility = 'immutable' and prosrc ~* '(from|join|into|update) +booking\.' $$, 'none that reads a table is immutable');
select is_empty($$ select signature from functions where volatility <> 'volatile' and prosrc ~* '\m(insert into|update booking|delete from|for no key update|for update)\M' $$,
  'none that writes or locks is stable');
select is_empty($$ select signature from functions where prosrc ~* '\mnow\(\)|current_timestamp|clock_timestamp' and name <> 'clock' $$, 'none reads another clock than ours');
select is_empty($$ select signature from functions where prosrc ~* '\m(exception\s+when)\M' and name not in ('process_webhook_event', 'run_maintenance') $$,
  'no other function has an exception block: it is a subtransaction');
select is_empty($$ select signature from functions where language = 'plpgsql' and prosrc ~* '\mexecute\M' and name <> 'schedule_maintenance' $$,
  'none makes a statement of text: there is nothing to inject into');
-- a plan that was made while a table was empty scans it as long as the connection lives, however many rows it has by then
select is_empty($$ select signature from functions where volatility = 'volatile' and language = 'plpgsql' and prosrc ~ '\mbooking\.[a-z_]+ [a-z]\M'
    and roles ~ 'app|cron' and not 'enable_seqscan=off' = any (coalesce(proconfig, '{}'))
    and name not in ('get_booking_stats', 'roll_up_stats', 'run_maintenance', 'schedule_maintenance') $$, 'whoever acts on a row finds it by an index');
select is_empty($$ select signature from functions where 'enable_seqscan=off' = any (proconfig) and not 'jit=off' = any (proconfig) $$,
  'nor is it compiled for the price that a scan has then');
select is_empty($$ select signature from functions where prosrc ~* '\m(listen|notify|pg_notify)\M' $$, 'none notifies: that serializes commits');
select is_empty($$ select signature from functions where prosrc ~* 'for update' and name not in ('cleanup_old_webhook_events', 'clean_expired_idempotency_keys', 'clean_expired_locks') $$,
  'none locks harder than it must, unless it deletes');
select is_empty($$ select f.name from functions f where name not in ('new_id') group by 1 having count(*) > 1 $$, 'no name has two meanings');

-- whoever was not granted a function cannot call it
create function pg_temp.called_as(p_role text, p_function regprocedure) returns text language plpgsql as $$
declare
  v_args text;
begin
  select string_agg(format('(select null::%s)', t::regtype), ', ' order by n) into v_args
  from pg_proc p, unnest(p.proargtypes::oid[]) with ordinality u (t, n) where p.oid = p_function;
  execute format('set local role %I', p_role);
  if (select p.prokind from pg_proc p where p.oid = p_function) = 'p' then
    execute format('call %s(%s)', p_function::regproc, v_args);
  else
    execute format('select %s(%s)', p_function::regproc, v_args);
  end if;
  execute 'reset role';
  return 'was called';
exception
  when insufficient_privilege then
    return 'no permission for ' || (regexp_match(sqlerrm, '^permission denied for (function|procedure) (.*)$'))[2];
  when others then
    return 'was called';
end
$$;
create role test_anybody;
grant usage on schema booking to test_anybody;
select is(pg_temp.called_as('booking_' || r, f.oid::regprocedure), 'no permission for ' || f.name, format('booking_%s cannot call %s', r, f.signature))
from functions f, unnest(array['app', 'cron', 'dba']) r
where not r = any (string_to_array(f.roles, ' ')) and f.name not in ('forbid_change', 'keep_booking', 'keep_booking_facts', 'keep_command', 'keep_payment', 'keep_payment_facts', 'keep_webhook_event', 'audit_payment', 'keep_prices', 'keep_settings', 'keep_invoice', 'keep_order', 'keep_refund_request', 'keep_stat_periods', 'set_updated_at', 'audit_settings', 'audit_status');
select is_empty($$ select f.signature from functions f where pg_temp.called_as('test_anybody', f.oid::regprocedure) <> 'no permission for ' || f.name
    and f.name not in ('forbid_change', 'keep_booking', 'keep_booking_facts', 'keep_command', 'keep_payment', 'keep_payment_facts', 'keep_webhook_event', 'audit_payment', 'keep_prices', 'keep_settings', 'keep_invoice', 'keep_order', 'keep_refund_request', 'keep_stat_periods', 'set_updated_at', 'audit_settings', 'audit_status') $$, 'somebody else cannot call any of them');
select is(pg_temp.called_as('booking_app', 'booking.create_booking_transaction(text,uuid,uuid,text,jsonb)'), 'was called', 'a granted one is called');
drop owned by test_anybody;
drop role test_anybody;
select * from finish();
