-- Raises a refusal: SQLSTATE 'PT' + HTTP status (PostgREST's convention), MESSAGE = machine code, DETAIL = JSON
-- object, HINT = what the caller can do. The one home of that form; docs/errors.md lists the codes.
-- Internal: granted to nobody. Locks: none. Errors: always.
create or replace function booking.refuse(p_http_status int, p_code text, p_detail jsonb, p_hint text)
returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  raise exception using
    errcode = 'PT' || p_http_status,
    message = p_code,
    detail = coalesce(p_detail, '{}'::jsonb)::text,
    hint = p_hint;
end
$$;

revoke all on function booking.refuse(int, text, jsonb, text) from public;
comment on function booking.refuse(int, text, jsonb, text) is 'Internal: raises a refusal in the form that every client can read';
