-- booking.await_standby(): a commit that writes nothing waits as well. That it does is shown with a real server that has
-- a standby to wait for, in tests/py/failover.
select plan(2);
select is(current_setting('synchronous_standby_names'), '', 'this server has no standby');
select lives_ok($$ select booking.await_standby() $$, 'where there is no standby, nothing is waited for');
select * from finish();
