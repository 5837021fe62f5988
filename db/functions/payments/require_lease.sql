-- Refuses a claim without a worker's name or with a lease that is not positive.
-- Internal: granted to nobody. Locks: none. Errors: PT400 invalid_request (DETAIL.field worker, lease).
create or replace function booking.require_lease(p_worker text, p_lease interval)
returns void
language plpgsql immutable security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  if p_worker is null or length(p_worker) not between 1 and 255 then
    perform booking.refuse(400, 'invalid_request', '{"field": "worker"}', 'A worker''s name has 1 to 255 characters.');
  end if;
  if p_lease is null or p_lease <= interval '0' then
    perform booking.refuse(400, 'invalid_request', '{"field": "lease"}', 'A lease is a positive interval.');
  end if;
end
$$;

revoke all on function booking.require_lease(text, interval) from public;
comment on function booking.require_lease(text, interval) is 'Internal: refuses a claim without a worker''s name or a positive lease';
