-- booking.percent_of(): half up, to the step that Stripe accepts, never more than the amount.
select * from no_plan();
select is(booking.percent_of(amount, percent, currency), expected, format('%s %% of %s %s', percent, amount, currency))
from (values
  (1000::bigint, 50, 'usd', 500::bigint),
  (1000, 100, 'usd', 1000),
  (1000, 0, 'usd', 0),
  (1001, 50, 'usd', 501),   -- 500.5 rounds up
  (1, 50, 'usd', 1),        -- 0.5 rounds up
  (1, 49, 'usd', 0),
  (3, 33, 'usd', 1),        -- 0.99
  (149, 1, 'usd', 1),       -- 1.49
  (150, 1, 'usd', 2),       -- 1.50
  (1001, 50, 'jpy', 501),
  (1010, 50, 'kwd', 510),   -- 505 lies half between 500 and 510
  (1000, 50, 'kwd', 500),
  (1090, 50, 'kwd', 550),   -- 545
  (1080, 50, 'kwd', 540),
  (10, 49, 'kwd', 0),       -- 4.9
  (10, 50, 'kwd', 10),      -- 5 of a step of 10
  (300, 50, 'isk', 200),    -- 150
  (500, 50, 'ISK', 300),    -- 250
  (200, 50, 'isk', 100),
  (100, 49, 'isk', 0),      -- 49 of a step of 100
  (100, 50, 'isk', 100),
  (500, 50, 'ugx', 300),
  (105, 100, 'kwd', 105),   -- never more than the amount, whatever the step
  (150, 100, 'isk', 150),
  (0, 50, 'usd', 0),
  (99999999999, 50, 'usd', 50000000000),
  (99999999999, 100, 'usd', 99999999999),
  (99999999900, 50, 'isk', 50000000000)) v (amount, percent, currency, expected);
select is_empty($$
  select a, p, c from generate_series(0, 250, 5) a, unnest(array[1, 33, 49, 50, 51, 99]) p, unnest(array['usd', 'kwd', 'isk']) c
  where booking.percent_of(a, p, c) not between 0 and a
     or booking.percent_of(a, p, c) <> least(a, round(a::numeric * p / 100 / booking.currency_step(c)) * booking.currency_step(c)) $$,
  'it is always what rounding the exact quotient half up gives');
select is(booking.percent_of(null, 50, 'usd'), null, 'nothing of nothing');
select is(booking.percent_of(100, null, 'usd'), null, 'no percentage, no amount');
select * from finish();
