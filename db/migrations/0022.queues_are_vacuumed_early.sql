set local role booking_owner;

-- Finished commands and ended bookings stay in the indexes of due ones until they are vacuumed away, and each look for the
-- oldest ones passes them. By PostgreSQL's own threshold a fifth of a table may be like that, however large it is; and it
-- leaves the indexes alone while few pages are concerned, which are the newest ones here.
-- The status of a command is in an index, so no new version of it ever stays in its page: no room is kept for one.
alter table booking.stripe_commands reset (fillfactor);
alter table booking.stripe_commands set
  (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 5000, vacuum_index_cleanup = on);
alter table booking.bookings set
  (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 5000, vacuum_index_cleanup = on);

reset role;
