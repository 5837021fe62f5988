-- Checks what a page of refund requests is asked for with, and returns the status to filter by (null: all).
-- Internal: granted to nobody. Locks: none. Errors: PT400 invalid_request (DETAIL.field status, limit).
create or replace function booking.require_refund_request_page(p_status text, p_limit int)
returns booking.refund_request_status
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  if p_status is not null and not p_status = any (enum_range(null::booking.refund_request_status)::text[]) then
    perform booking.refuse(400, 'invalid_request',
      jsonb_build_object('field', 'status', 'allowed', enum_range(null::booking.refund_request_status)),
      'Give one of the statuses of a refund request.');
  end if;
  if p_limit is null or p_limit not between 1 and 200 then
    perform booking.refuse(400, 'invalid_request', '{"field": "limit"}', 'A page has 1 to 200 requests.');
  end if;
  return p_status::booking.refund_request_status;
end
$$;

revoke all on function booking.require_refund_request_page(text, int) from public;
comment on function booking.require_refund_request_page(text, int) is 'Internal: checks what a page of refund requests is asked for with';
