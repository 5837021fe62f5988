set local role booking_owner;

create table booking.maintenance_runs (
  only_row boolean primary key default true check (only_row),
  last_run_at timestamptz not null
);
comment on table booking.maintenance_runs is 'When run_maintenance() last began, whoever called it: one row';

reset role;
