-- Deploy pgbooking:0020.titles_on_seats to pg
BEGIN;
\ir ../../migrations/0020.titles_on_seats.sql
COMMIT;
