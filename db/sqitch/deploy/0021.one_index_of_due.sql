-- Deploy pgbooking:0021.one_index_of_due to pg
BEGIN;
\ir ../../migrations/0021.one_index_of_due.sql
COMMIT;
