-- Revert pgbooking:0020.titles_on_seats from pg
BEGIN;
\ir ../../migrations/0020.titles_on_seats.rollback.sql
COMMIT;
