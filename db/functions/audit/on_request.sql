-- Says for the rest of this transaction who acts and under which request, for the audit trail; returns the person. Made to
-- be called in an argument, so that a server needs no second statement:
--   select * from booking.cancel_booking_transaction(p_actor_id => booking.on_request('req-17', 'student-1'), ...)
-- A null request id leaves the one that was set. Longer ones than 128 characters are cut.
-- Locks: none. Errors: none.
create or replace function booking.on_request(p_request_id text, p_person_id text)
returns text
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  -- expressions: perform would run a query
  if p_request_id is not null then
    p_request_id := set_config('booking.request_id', left(p_request_id, 128), true);
  end if;
  return case when set_config('booking.actor', coalesce(p_person_id, ''), true) is not null then p_person_id end;
end
$$;

revoke all on function booking.on_request(text, text) from public;
grant execute on function booking.on_request(text, text) to booking_app, booking_dba;
comment on function booking.on_request(text, text) is 'Names who acts and under which request, for the audit trail of this transaction; returns the person';
