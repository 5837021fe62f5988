-- Deploy pgbooking:0006.statistics to pg
BEGIN;
\ir ../../migrations/0006.statistics.sql
COMMIT;
