drop table booking.stat_hours, booking.stat_deltas cascade;
drop type booking.stat_metric cascade;
