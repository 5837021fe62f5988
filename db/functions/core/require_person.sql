-- Refuses an id of a person that is absent, empty or longer than 255 characters, naming the field.
-- Internal: granted to nobody. Locks: none. Errors: PT400 invalid_request.
create or replace function booking.require_person(p_field text, p_id text)
returns void
language plpgsql immutable security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  if p_id is null or length(p_id) not between 1 and 255 then
    perform booking.refuse(400, 'invalid_request', jsonb_build_object('field', p_field),
      'Ids of people have 1 to 255 characters.');
  end if;
end
$$;

revoke all on function booking.require_person(text, text) from public;
comment on function booking.require_person(text, text) is 'Internal: refuses an id of a person that is absent or too long';
