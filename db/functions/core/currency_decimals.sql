-- How many digits after the point an amount in minor units has when it is written out: 5000 is 50.00 usd, 5000 jpy, 5.000 kwd.
-- isk and ugx have no cents of their own, but Stripe counts them in hundredths: 500 is 5.00 isk.
-- Source: Stripe, "Supported currencies", zero-decimal and three-decimal currencies, special cases.
-- Locks: none. Errors: none.
create or replace function booking.currency_decimals(p_currency text)
returns int
language sql immutable strict parallel safe security definer
set search_path = pg_catalog, pg_temp
as $$
  select case
    when lower(p_currency) in ('bhd', 'jod', 'kwd', 'omr', 'tnd') then 3
    when lower(p_currency) in ('bif', 'clp', 'djf', 'gnf', 'jpy', 'kmf', 'krw', 'mga', 'pyg', 'rwf', 'vnd', 'vuv', 'xaf', 'xof', 'xpf')
      then 0
    else 2
  end
$$;

revoke all on function booking.currency_decimals(text) from public;
grant execute on function booking.currency_decimals(text) to booking_app, booking_dba;
comment on function booking.currency_decimals(text) is 'Digits after the point of an amount in minor units (0, 2 or 3)';
