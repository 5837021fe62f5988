-- Takes the next number of a series in the present UTC year: 1, 2, 3 without a gap. The counter's row stays locked until the
-- commit, so a transaction that is rolled back gives its number back. The time is read under the lock: a later number is
-- never dated earlier.
-- Internal: granted to nobody. Locks: the row of the series and year, after everything else. Errors: none.
create or replace function booking.next_invoice_number(p_series text)
returns table (year int, serial int, taken_at timestamptz)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
  v_year int;
  v_now timestamptz;
begin
  loop
    v_year := extract(year from booking.clock() at time zone 'UTC')::int;
    perform from booking.invoice_series s where s.series = p_series and s.year = v_year for no key update;
    if found then
      v_now := booking.clock();
      exit when v_year = extract(year from v_now at time zone 'UTC')::int; -- else the year ended while it waited
    else
      insert into booking.invoice_series (series, year) values (p_series, v_year) on conflict do nothing;
    end if;
  end loop;
  return query
    update booking.invoice_series s set last_number = s.last_number + 1
    where s.series = p_series and s.year = v_year
    returning s.year, s.last_number, v_now;
end
$$;

revoke all on function booking.next_invoice_number(text) from public;
comment on function booking.next_invoice_number(text) is 'Internal: takes the next number of a series; none is ever left out';
