-- Trigger: a row whose status or amounts changed leaves an audit row, whoever changed it. The action is thing.status.
-- Arguments: the thing's name, the column of its id, then the columns that the detail shows.
-- Locks: none. Errors: none.
create or replace function booking.audit_status()
returns trigger
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_new jsonb := to_jsonb(new);
  v_detail jsonb := jsonb_build_object();
begin
  for i in 2 .. tg_nargs - 1 loop
    v_detail := v_detail || jsonb_build_object(tg_argv[i], v_new -> tg_argv[i]);
  end loop;
  if tg_op = 'UPDATE' then
    v_detail := v_detail || jsonb_build_object('from', old.status);
  end if;
  perform booking.audit(tg_argv[0] || '.' || new.status, v_new ->> tg_argv[1], null, jsonb_strip_nulls(v_detail));
  return null;
end
$$;

revoke all on function booking.audit_status() from public;
comment on function booking.audit_status() is 'Trigger: a status or an amount that changed leaves an audit row';

create or replace trigger audit_insert after insert on booking.refunds
  for each row execute function booking.audit_status('refund', 'stripe_refund_id', 'payment_id', 'command_id', 'amount', 'currency');
create or replace trigger audit_update after update on booking.refunds
  for each row when (old.status is distinct from new.status)
  execute function booking.audit_status('refund', 'stripe_refund_id', 'payment_id', 'command_id', 'amount', 'currency', 'failure_reason');
create or replace trigger audit_insert after insert on booking.disputes
  for each row execute function booking.audit_status('dispute', 'stripe_dispute_id', 'payment_id', 'amount', 'currency', 'reason');
create or replace trigger audit_update after update on booking.disputes
  for each row when ((old.status, old.amount) is distinct from (new.status, new.amount))
  execute function booking.audit_status('dispute', 'stripe_dispute_id', 'payment_id', 'amount', 'currency', 'reason');
create or replace trigger audit_insert after insert on booking.orders
  for each row execute function booking.audit_status('order', 'id', 'product_id', 'user_id', 'amount', 'currency');
create or replace trigger audit_update after update on booking.orders
  for each row when ((old.status, old.stripe_session_id, old.superseded_by) is distinct from (new.status, new.stripe_session_id, new.superseded_by))
  execute function booking.audit_status('order', 'id', 'product_id', 'user_id', 'amount', 'currency', 'stripe_session_id',
    'stripe_payment_intent_id', 'superseded_by', 'last_error');
