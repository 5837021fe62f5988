-- Revert pgbooking:0023.events_by_trigger from pg
BEGIN;
\ir ../../migrations/0023.events_by_trigger.rollback.sql
COMMIT;
