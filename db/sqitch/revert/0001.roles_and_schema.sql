-- Revert pgbooking:0001.roles_and_schema from pg
BEGIN;
\ir ../../migrations/0001.roles_and_schema.rollback.sql
COMMIT;
