-- Deploy pgbooking:0001.roles_and_schema to pg
BEGIN;
\ir ../../migrations/0001.roles_and_schema.sql
COMMIT;
