drop index booking.stat_hours_by_hour;
drop table booking.stat_periods cascade;
drop type booking.stat_period cascade;
