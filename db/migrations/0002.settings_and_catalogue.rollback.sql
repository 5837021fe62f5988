drop table booking.slot_seats, booking.slots, booking.sessions, booking.experts, booking.refund_policies,
  booking.settings, booking.deployed_functions cascade;
drop type booking.confirmation_mode cascade;
