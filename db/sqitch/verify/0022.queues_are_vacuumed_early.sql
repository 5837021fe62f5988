-- Verify pgbooking:0022.queues_are_vacuumed_early on pg
BEGIN;
ROLLBACK;
