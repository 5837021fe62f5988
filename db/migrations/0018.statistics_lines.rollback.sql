-- the lines that are not folded yet say no hour
update booking.stat_deltas set at = date_trunc('hour', at, 'UTC');
alter table booking.stat_deltas rename column at to hour;
