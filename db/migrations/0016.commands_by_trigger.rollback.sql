drop function if exists booking.keep_command() cascade;
alter table booking.stripe_commands
  add constraint stripe_commands_operation_check
    check (operation in ('capture_payment_intent', 'cancel_payment_intent', 'create_refund', 'expire_checkout_session')),
  add constraint stripe_commands_check check ((status = 'running') = (locked_by is not null and lease_until is not null)),
  add constraint stripe_commands_check1 check ((status = 'done') = (outcome is not null)),
  add constraint stripe_commands_one_subject check (num_nonnulls(payment_id, order_id) = 1);
