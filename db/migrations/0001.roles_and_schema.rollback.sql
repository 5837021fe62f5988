-- Takes the functions with it: they live in this schema and in no migration.
drop schema booking cascade;
