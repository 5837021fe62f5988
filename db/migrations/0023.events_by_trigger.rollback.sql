alter table booking.webhook_events
  add constraint webhook_events_stripe_event_id_check check (length(stripe_event_id) between 1 and 255);
drop trigger if exists keep_webhook_event on booking.webhook_events;
drop function if exists booking.keep_webhook_event();
