-- Deploy pgbooking:0007.maintenance to pg
BEGIN;
\ir ../../migrations/0007.maintenance.sql
COMMIT;
