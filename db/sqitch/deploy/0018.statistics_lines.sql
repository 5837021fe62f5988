-- Deploy pgbooking:0018.statistics_lines to pg
BEGIN;
\ir ../../migrations/0018.statistics_lines.sql
COMMIT;
