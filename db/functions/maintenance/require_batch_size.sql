-- Refuses a batch size that is absent, not positive or so large that others would wait for it.
-- Internal: granted to nobody. Locks: none. Errors: PT400 invalid_request (DETAIL.field batch_size).
create or replace function booking.require_batch_size(p_batch_size int)
returns void
language plpgsql immutable security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  if p_batch_size is null or p_batch_size not between 1 and 10000 then
    perform booking.refuse(400, 'invalid_request', '{"field": "batch_size"}', 'A batch has 1 to 10,000 rows.');
  end if;
end
$$;

revoke all on function booking.require_batch_size(int) from public;
comment on function booking.require_batch_size(int) is 'Internal: refuses a batch size out of bounds';
