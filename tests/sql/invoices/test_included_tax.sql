-- booking.included_tax(): the tax that a price contains, rounded half up.
select * from no_plan();
select is(booking.included_tax(gross, rate, currency), tax::bigint, format('%s %s at %s', gross, currency, rate)) from (values
  (5000, 0, 'usd', 0), (11900, 1900, 'eur', 1900), (5000, 1900, 'eur', 798), (1, 1900, 'eur', 0), (3, 2000, 'eur', 1),
  (2, 10000, 'eur', 1), (1, 10000, 'eur', 1), (5000, 1000, 'jpy', 455), (10010, 500, 'kwd', 477), (2400, 2400, 'isk', 500),
  (100, 2400, 'isk', 0), (300, 2400, 'isk', 100), (10000, 1800, 'ugx', 1500), (99999999999, 1, 'usd', 9999000), (99999999999, 10000, 'usd', 50000000000),
  (1070, 700, 'eur', 70), (2500, 810, 'chf', 187)) v (gross, rate, currency, tax);
select is_empty($$ select g, r from generate_series(1, 400) g, unnest(array[0, 1, 250, 700, 1900, 2000, 9999, 10000]) r
  where booking.included_tax(g, r, 'eur') <> floor(g::numeric * r / (10000 + r) + 0.5) $$, 'half up, everywhere');
select is_empty($$ select g, r from generate_series(1, 400) g, unnest(array[0, 1, 250, 700, 1900, 2000, 9999, 10000]) r
  where booking.included_tax(g, r, 'eur') not between 0 and g $$, 'never more than the price');
select is(booking.included_tax(null, 1900, 'eur'), null, 'no price, no tax');
select * from finish();
