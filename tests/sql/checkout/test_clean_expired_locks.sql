-- booking.clean_expired_locks(): removes locks that have lapsed, and old statistics.
select plan(6);
select test.set_clock('2026-02-08 12:00:10Z');
do $$ begin perform booking.report_checkout_conflict(); end $$;
select test.set_clock('2026-02-08 12:00:11Z');
do $$ begin perform booking.report_checkout_conflict(); end $$;
select test.set_clock('2026-03-10 12:00Z');
do $$ begin
  perform booking.try_acquire_lock('a', 'anna', 'p', 'r'), booking.try_acquire_lock('b', 'anna', 'p', 'r', '20 seconds'),
    booking.try_acquire_lock('c', 'anna', 'p', 'r', '5 seconds');
end $$;
select test.set_clock('2026-03-10 12:00:10Z');
set local role booking_cron;
select is(booking.clean_expired_locks(), 2, 'the two that have lapsed');
select is(booking.clean_expired_locks(), 0, 'nothing is left to do');
reset role;
select results_eq('select lock_key from booking.concurrency_locks', $$ values ('b') $$, 'an active lock stays');
select results_eq($$ select held from booking.checkout_events where kind = 'lapsed' order by 1 $$, $$ values ('5 seconds'::interval), ('10 seconds') $$,
  'each is counted with the time that it blocked');
select is((select count(*) from booking.checkout_events where kind = 'refused'), 1::bigint, 'what is 30 days old is forgotten, not a second earlier');
select is((select min(happened_at) from booking.checkout_events), '2026-02-08 12:00:11Z'::timestamptz, 'the younger one is kept');
select * from finish();
