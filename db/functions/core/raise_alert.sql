-- Leaves something for a person to look at; a repeated one only counts up. Kinds are listed in docs/operations.md.
-- Internal: granted to nobody. Locks: the open alert of this kind and subject, last of all. Errors: none.
create or replace function booking.raise_alert(p_kind text, p_subject text, p_detail jsonb default '{}')
returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_now timestamptz := booking.clock();
begin
  insert into booking.alerts as a (kind, subject, detail, first_at, last_at)
  values (p_kind, p_subject, p_detail, v_now, v_now)
  on conflict (kind, subject) where resolved_at is null
  do update set times = a.times + 1, last_at = excluded.last_at, detail = excluded.detail;
end
$$;

revoke all on function booking.raise_alert(text, text, jsonb) from public;
comment on function booking.raise_alert(text, text, jsonb) is 'Internal: leaves an alert for a person';
