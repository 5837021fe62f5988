-- The server's word that it turned a request away because a purchase was in progress: begin_checkout() refuses by raising,
-- which keeps nothing, so the statistics hear of it here. Locks: none. Errors: none.
create or replace function booking.report_checkout_conflict()
returns void
language sql volatile security definer
set search_path = pg_catalog, pg_temp
as $$ insert into booking.checkout_events (kind, happened_at) values ('refused', booking.clock()) $$;

revoke all on function booking.report_checkout_conflict() from public;
grant execute on function booking.report_checkout_conflict() to booking_app;
comment on function booking.report_checkout_conflict() is 'Counts a request that was turned away because a purchase was in progress';
