-- Deploy pgbooking:0014.statistics_by_period to pg
BEGIN;
\ir ../../migrations/0014.statistics_by_period.sql
COMMIT;
