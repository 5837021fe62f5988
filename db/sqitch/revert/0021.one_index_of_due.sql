-- Revert pgbooking:0021.one_index_of_due from pg
BEGIN;
\ir ../../migrations/0021.one_index_of_due.rollback.sql
COMMIT;
