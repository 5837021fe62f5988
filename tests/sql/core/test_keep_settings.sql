-- booking.keep_settings(): intervals of the settings are hours as they pass, in every time zone.
select * from no_plan();
do $$ begin
  update booking.settings set booking_timeout = '1 day 30 minutes', idempotency_ttl = '2 days', command_backoff = '1.5 seconds',
    command_backoff_cap = '1 day', checkout_lock_ttl = '1 day';
end $$;
select is(array[booking_timeout, idempotency_ttl, command_backoff, command_backoff_cap, checkout_lock_ttl]::text[],
  array['24:30:00', '48:00:00', '00:00:01.5', '24:00:00', '24:00:00'], 'days become hours') from booking.settings;
select is_empty($$ select c.column_name from information_schema.columns c, booking.settings s
  where c.table_schema = 'booking' and c.table_name = 'settings' and c.data_type = 'interval'
    and extract(day from (to_jsonb(s) ->> c.column_name)::interval) <> 0 $$, 'whatever interval the settings have');

-- the night in which the clocks of Berlin go forward
do $$ begin perform test.set_clock('2027-03-28 00:59:59Z'); update booking.settings set booking_timeout = '1 day'; end $$;
set local timezone = 'Europe/Berlin';
create temp table b as select c.* from booking.create_booking_transaction('ann', test.make_slot('30 days')) c;
select is(expires_at, '2027-03-29 00:59:59Z'::timestamptz, 'a booking is told the time 24 hours later') from b;
set local timezone = 'UTC';
do $$ begin perform test.set_clock('2027-03-29 00:59:58Z'); end $$;
select is(booking.cleanup_expired_bookings(p_timeout => booking.booking_timeout()), 0, 'before that it waits, for a session elsewhere too');
set local timezone = 'Europe/Berlin';
select is(booking.cleanup_expired_bookings(p_timeout => '1 day'), 0, 'a timeout that is given in days has 24 hours, too');
do $$ begin perform test.set_clock('2027-03-29 00:59:59Z'); end $$;
select is(booking.cleanup_expired_bookings(p_timeout => '1 day'), 1, 'then it expires');
select * from finish();
