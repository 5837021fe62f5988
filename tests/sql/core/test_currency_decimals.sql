-- booking.currency_decimals(): 2, except the currencies that Stripe lists as zero-decimal or three-decimal.
select plan(6);
create function pg_temp.codes(p_decimals int) returns setof text language sql as $$
  select chr(a) || chr(b) || chr(c) from generate_series(97, 122) a, generate_series(97, 122) b, generate_series(97, 122) c
  where booking.currency_decimals(chr(a) || chr(b) || chr(c)) = p_decimals $$;
select set_eq('select pg_temp.codes(0)', string_to_array('bif clp djf gnf jpy kmf krw mga pyg rwf vnd vuv xaf xof xpf', ' '), 'none of its own');
select set_eq('select pg_temp.codes(3)', string_to_array('bhd jod kwd omr tnd', ' '), 'thousandths');
select is((select count(*) from pg_temp.codes(2)), 26::bigint * 26 * 26 - 20, 'hundredths otherwise');
select is(booking.currency_decimals('isk') || ' ' || booking.currency_decimals('ugx'), '2 2', 'Stripe counts ISK and UGX in hundredths');
select is(booking.currency_decimals('JPY'), 0, 'the case of the code does not matter');
select is(booking.currency_decimals(null), null, 'no currency, no decimals');
select * from finish();
