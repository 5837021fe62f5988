drop table booking.alerts, booking.stripe_commands, booking.transfers, booking.disputes, booking.refunds, booking.payments cascade;
drop type booking.command_outcome, booking.command_status, booking.refund_status, booking.payment_status cascade;
