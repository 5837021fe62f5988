-- Refuses a price that Stripe would not take: a currency that is no three letters, or an amount in minor units that is not
-- positive, too large, or no multiple of booking.currency_step(). The one home of that rule, for whatever is sold.
-- Internal: granted to nobody. Locks: none. Errors: PT400 invalid_request (DETAIL.field: amount, currency).
create or replace function booking.require_price(p_amount bigint, p_currency text)
returns void
language plpgsql immutable security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  if p_currency is null or lower(p_currency) !~ '^[a-z]{3}$' then
    perform booking.refuse(400, 'invalid_request', '{"field": "currency"}', 'Give a three-letter ISO 4217 code.');
  end if;
  if p_amount is null or p_amount not between 1 and 99999999999 or p_amount % booking.currency_step(p_currency) <> 0 then
    perform booking.refuse(400, 'invalid_request',
      jsonb_build_object('field', 'amount', 'step', booking.currency_step(p_currency)),
      'Give a positive amount in minor units, a multiple of the step that Stripe accepts.');
  end if;
end
$$;

revoke all on function booking.require_price(bigint, text) from public;
comment on function booking.require_price(bigint, text) is 'Internal: refuses a price that Stripe would not take (minor units)';
