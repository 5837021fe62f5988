alter table booking.bookings reset (autovacuum_vacuum_scale_factor, autovacuum_vacuum_threshold, vacuum_index_cleanup);
alter table booking.stripe_commands reset (autovacuum_vacuum_scale_factor, autovacuum_vacuum_threshold, vacuum_index_cleanup);
alter table booking.stripe_commands set (fillfactor = 70);
