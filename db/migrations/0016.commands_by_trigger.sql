set local role booking_owner;

-- Trigger keep_command has these rules, and keeps updated_at: a check constraint is parsed anew by each statement that writes.
alter table booking.stripe_commands
  drop constraint stripe_commands_operation_check,
  drop constraint stripe_commands_check,
  drop constraint stripe_commands_check1,
  drop constraint stripe_commands_one_subject;
drop trigger if exists set_updated_at on booking.stripe_commands;

reset role;
