-- Deploy pgbooking:0016.commands_by_trigger to pg
BEGIN;
\ir ../../migrations/0016.commands_by_trigger.sql
COMMIT;
