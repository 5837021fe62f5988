-- Deploy pgbooking:0023.events_by_trigger to pg
BEGIN;
\ir ../../migrations/0023.events_by_trigger.sql
COMMIT;
