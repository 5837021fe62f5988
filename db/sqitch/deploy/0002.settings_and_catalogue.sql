-- Deploy pgbooking:0002.settings_and_catalogue to pg
BEGIN;
\ir ../../migrations/0002.settings_and_catalogue.sql
COMMIT;
