drop table booking.maintenance_runs cascade;
