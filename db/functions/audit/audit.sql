-- Appends one row to the audit log, in the commit of what it tells about. The actor is the one given, else setting
-- booking.actor (see on_request), else the database login; the request id is setting booking.request_id.
-- p_detail holds ids, amounts in minor units and statuses, never people's words; its payment_id makes the row findable by payment.
-- Internal: granted to nobody. Locks: none. Errors: none.
create or replace function booking.audit(p_action text, p_subject text, p_actor text default null, p_detail jsonb default '{}')
returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  insert into booking.audit_log (created_at, actor, action, subject, payment_id, request_id, detail)
  values (booking.clock(), coalesce(p_actor, nullif(current_setting('booking.actor', true), ''), session_user), p_action, p_subject,
    case when p_detail ->> 'payment_id' <> p_subject then (p_detail ->> 'payment_id')::uuid end,
    nullif(current_setting('booking.request_id', true), ''), coalesce(p_detail, '{}'));
end
$$;

revoke all on function booking.audit(text, text, text, jsonb) from public;
comment on function booking.audit(text, text, text, jsonb) is 'Internal: appends one row to the audit log';
