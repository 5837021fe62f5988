-- booking.command_key(): the Stripe idempotency key of a command.
select plan(4);
select is(booking.command_key('01890000-0000-7000-8000-000000000001', 1), '01890000-0000-7000-8000-000000000001',
  'the first key is the command''s own uuid');
select is(booking.command_key('01890000-0000-7000-8000-000000000001', 2), '01890000-0000-7000-8000-000000000001:2',
  'the second key is uuid:2');
select is(booking.command_key('01890000-0000-7000-8000-000000000001', 13), '01890000-0000-7000-8000-000000000001:13',
  'later keys count on');
select is(booking.command_key(null, 2), null, 'no command, no key');
select * from finish();
