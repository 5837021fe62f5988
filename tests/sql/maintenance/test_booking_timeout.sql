-- booking.booking_timeout(): what the installation has set.
select plan(2);
select is(booking.booking_timeout(), '30 minutes'::interval, 'half an hour unless set otherwise');
update booking.settings set booking_timeout = '5 minutes';
select is(booking.booking_timeout(), '5 minutes'::interval, 'as it was set');
select * from finish();
