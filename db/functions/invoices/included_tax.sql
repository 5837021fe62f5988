-- The tax that a price of p_gross minor units contains at p_rate hundredths of a percent, rounded half up to the minor unit
-- (isk and ugx: to whole units, since nobody can pay less).
-- Internal: granted to nobody. Locks: none. Errors: none.
create or replace function booking.included_tax(p_gross bigint, p_rate int, p_currency text)
returns bigint
language sql immutable strict parallel safe security definer
set search_path = pg_catalog, pg_temp
as $$
  select (2 * (p_gross / u.unit) * p_rate + 10000 + p_rate) / (2 * (10000 + p_rate)) * u.unit
  from (select case booking.currency_step(p_currency) when 100 then 100 else 1 end as unit) u
$$;

revoke all on function booking.included_tax(bigint, int, text) from public;
comment on function booking.included_tax(bigint, int, text) is 'Internal: the tax that a price contains (minor units), rounded half up';
