-- booking.require_price(): what is sold has a price that Stripe takes.
select * from no_plan();
select lives_ok(format('select booking.require_price(%s, %L)', amount, currency), format('%s %s', amount, currency))
from (values (1, 'usd'), (99999999999, 'EUR'), (10, 'kwd'), (100, 'isk'), (1, 'jpy')) v (amount, currency);
select test.refused(format('select booking.require_price(%L, %L)', amount, currency), 'PT400', 'invalid_request',
  jsonb_build_object('field', field) || case field when 'amount' then jsonb_build_object('step', booking.currency_step(currency)) else '{}' end,
  format('%s of %s', amount, currency))
from (values (null, 'usd', 'amount'), (0, 'usd', 'amount'), (-1, 'usd', 'amount'), (100000000000, 'usd', 'amount'), (15, 'kwd', 'amount'),
  (150, 'ISK', 'amount'), (100, null, 'currency'), (100, 'us', 'currency'), (100, 'us1', 'currency'), (100, 'usdd', 'currency')) v (amount, currency, field);
select * from finish();
