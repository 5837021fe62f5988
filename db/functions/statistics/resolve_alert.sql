-- Notes that somebody has dealt with an alert. Returns false when there is none open with that id.
-- Locks: the alert. Errors: PT400 invalid_request (DETAIL.field actor).
create or replace function booking.resolve_alert(p_alert_id bigint, p_actor text)
returns boolean
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_kind text;
  v_subject text;
begin
  perform booking.require_person('actor', p_actor);
  update booking.alerts a set resolved_at = booking.clock(), resolved_by = p_actor
  where a.id = p_alert_id and a.resolved_at is null
  returning a.kind, a.subject into v_kind, v_subject;
  if v_kind is null then
    return false;
  end if;
  perform booking.audit('alert.resolved', p_alert_id::text, p_actor, jsonb_build_object('kind', v_kind, 'subject', v_subject));
  return true;
end
$$;

revoke all on function booking.resolve_alert(bigint, text) from public;
grant execute on function booking.resolve_alert(bigint, text) to booking_dba;
comment on function booking.resolve_alert(bigint, text) is 'Notes that somebody has dealt with an alert';
