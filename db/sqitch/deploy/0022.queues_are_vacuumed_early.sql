-- Deploy pgbooking:0022.queues_are_vacuumed_early to pg
BEGIN;
\ir ../../migrations/0022.queues_are_vacuumed_early.sql
COMMIT;
