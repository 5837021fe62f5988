-- Trigger: a session's price and title stand on the seat counters of its slots, too, so that a booking and a list of slots read
-- them with the seat. Bookings that are made keep the price they were made at.
-- Locks: the session's seat counters; the session itself is held by the statement. Errors: none.
create or replace function booking.keep_prices()
returns trigger
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  update booking.slot_seats q set title = new.title, amount = new.amount, currency = new.currency
  from booking.slots s
  where s.session_id = new.id and q.slot_id = s.id
    and (q.title, q.amount, q.currency) is distinct from (new.title, new.amount, new.currency);
  return null;
end
$$;

revoke all on function booking.keep_prices() from public;
comment on function booking.keep_prices() is 'Trigger: the price and title of a session stand on its slots'' seat counters, too';

create or replace trigger keep_prices after update of title, amount, currency on booking.sessions
  for each row execute function booking.keep_prices();

-- Counters that do not tell their session's: made or missed while an older version of these functions was here.
do $$
begin
  update booking.slot_seats q set title = x.title, amount = x.amount, currency = x.currency
  from booking.slots s join booking.sessions x on x.id = s.session_id
  where q.slot_id = s.id and (q.title, q.amount, q.currency) is distinct from (x.title, x.amount, x.currency);
end
$$;
