-- Trigger: a session's price stands on the seat counters of its slots, too, so that a booking reads it with its seat. Bookings
-- that are made keep the price they were made at.
-- Locks: the session's seat counters; the session itself is held by the statement. Errors: none.
create or replace function booking.keep_prices()
returns trigger
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  update booking.slot_seats q set amount = new.amount, currency = new.currency
  from booking.slots s
  where s.session_id = new.id and q.slot_id = s.id and (q.amount, q.currency) is distinct from (new.amount, new.currency);
  return null;
end
$$;

revoke all on function booking.keep_prices() from public;
comment on function booking.keep_prices() is 'Trigger: the price of a session stands on its slots'' seat counters, too';

create or replace trigger keep_prices after update of amount, currency on booking.sessions
  for each row execute function booking.keep_prices();
