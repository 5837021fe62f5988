-- Trigger: a change of the rules (settings, refund_policies) leaves an audit row with what was and what is.
-- Locks: none. Errors: none.
create or replace function booking.audit_settings()
returns trigger
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_old jsonb := case when tg_op <> 'INSERT' then to_jsonb(old) else '{}' end;
  v_new jsonb := case when tg_op <> 'DELETE' then to_jsonb(new) else '{}' end;
  v_detail jsonb;
begin
  select jsonb_object_agg(k.key, jsonb_build_object('was', v_old -> k.key, 'is', v_new -> k.key)) into v_detail
  from jsonb_object_keys(v_old || v_new) k (key)
  where v_old -> k.key is distinct from v_new -> k.key;
  if v_detail is not null then
    perform booking.audit(tg_table_name || '.changed', tg_table_name, null, v_detail);
  end if;
  return null;
end
$$;

revoke all on function booking.audit_settings() from public;
comment on function booking.audit_settings() is 'Trigger: a change of the rules leaves an audit row';

create or replace trigger audit_change after insert or update or delete on booking.settings
  for each row execute function booking.audit_settings();
create or replace trigger audit_change after insert or update or delete on booking.refund_policies
  for each row execute function booking.audit_settings();
