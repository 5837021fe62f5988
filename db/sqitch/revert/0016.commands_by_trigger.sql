-- Revert pgbooking:0016.commands_by_trigger from pg
BEGIN;
\ir ../../migrations/0016.commands_by_trigger.rollback.sql
COMMIT;
