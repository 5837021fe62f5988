-- The smallest step, in minor units, of an amount that Stripe accepts in a currency.
-- Source: Stripe, "Supported currencies", zero-decimal and three-decimal special cases.
-- Locks: none. Errors: none.
create or replace function booking.currency_step(p_currency text)
returns int
language sql immutable strict parallel safe security definer
set search_path = pg_catalog, pg_temp
as $$
  select case
    when lower(p_currency) in ('bhd', 'jod', 'kwd', 'omr', 'tnd') then 10
    when lower(p_currency) in ('isk', 'ugx') then 100
    else 1
  end
$$;

revoke all on function booking.currency_step(text) from public;
grant execute on function booking.currency_step(text) to booking_app, booking_dba;
comment on function booking.currency_step(text) is 'Smallest step in minor units that Stripe accepts for a currency (1, 10 or 100)';
