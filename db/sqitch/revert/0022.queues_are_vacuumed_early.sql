-- Revert pgbooking:0022.queues_are_vacuumed_early from pg
BEGIN;
\ir ../../migrations/0022.queues_are_vacuumed_early.rollback.sql
COMMIT;
