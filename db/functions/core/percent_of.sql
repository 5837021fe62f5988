-- A percentage of an amount in minor units, rounded half up to the currency's step, never more than the amount.
-- Locks: none. Errors: none.
create or replace function booking.percent_of(p_amount bigint, p_percent int, p_currency text)
returns bigint
language sql immutable strict parallel safe security definer
set search_path = pg_catalog, pg_temp
as $$
  select least(p_amount,
    ((p_amount * p_percent + 50 * booking.currency_step(p_currency)) / (100 * booking.currency_step(p_currency)))
      * booking.currency_step(p_currency))
$$;

revoke all on function booking.percent_of(bigint, int, text) from public;
grant execute on function booking.percent_of(bigint, int, text) to booking_app, booking_dba;
comment on function booking.percent_of(bigint, int, text) is
  'Percentage of an amount (minor units), rounded half up to the step that Stripe accepts';
