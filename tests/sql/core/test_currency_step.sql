-- booking.currency_step(): 1, except the currencies for which Stripe documents more.
select plan(7);
select set_eq(
  $$ select c from unnest(string_to_array('bhd jod kwd omr tnd', ' ')) c where booking.currency_step(c) = 10 $$,
  array['bhd', 'jod', 'kwd', 'omr', 'tnd'], 'three-decimal currencies are charged in steps of ten');
select set_eq(
  $$ select c from unnest(string_to_array('isk ugx', ' ')) c where booking.currency_step(c) = 100 $$,
  array['isk', 'ugx'], 'ISK and UGX are charged in whole units');
select is(booking.currency_step('usd'), 1, 'the minor unit otherwise');
select is(booking.currency_step('jpy'), 1, 'a zero-decimal currency is charged in its unit');
select is(booking.currency_step('KWD'), 10, 'the case of the code does not matter');
select is(booking.currency_step(null), null, 'no currency, no step');
select is_empty($$
  select chr(a) || chr(b) || chr(c) from generate_series(97, 122) a, generate_series(97, 122) b, generate_series(97, 122) c
  where booking.currency_step(chr(a) || chr(b) || chr(c)) <> 1
    and chr(a) || chr(b) || chr(c) not in ('bhd', 'jod', 'kwd', 'omr', 'tnd', 'isk', 'ugx') $$,
  'of all codes only these seven have another step');
select * from finish();
