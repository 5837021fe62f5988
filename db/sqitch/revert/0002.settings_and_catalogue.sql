-- Revert pgbooking:0002.settings_and_catalogue from pg
BEGIN;
\ir ../../migrations/0002.settings_and_catalogue.rollback.sql
COMMIT;
