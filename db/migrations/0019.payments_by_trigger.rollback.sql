alter table booking.payments
  add constraint payments_amount_check check (amount > 0),
  add constraint payments_stripe_payment_intent_id_check check (length(stripe_payment_intent_id) between 1 and 255),
  add constraint payments_check check (amount_refunded >= 0 and amount_refunded <= amount_captured and amount_captured <= amount),
  add constraint payments_check1 check (status in ('captured', 'partially_refunded', 'refunded') = (amount_captured > 0));
drop trigger if exists keep_payment_amounts on booking.payments;
drop function if exists booking.keep_payment_amounts();
