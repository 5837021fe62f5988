-- The server's word that Stripe refused its key (401, 403) outside any command, so that doctor shows it.
-- Locks: the alert. Errors: none.
create or replace function booking.report_stripe_key_refused(p_http_status int, p_code text default null)
returns void
language sql volatile security definer
set search_path = pg_catalog, pg_temp
as $$ select booking.raise_alert('stripe_credentials', 'stripe', jsonb_build_object('http_status', p_http_status, 'code', p_code)) $$;

revoke all on function booking.report_stripe_key_refused(int, text) from public;
grant execute on function booking.report_stripe_key_refused(int, text) to booking_app;
comment on function booking.report_stripe_key_refused(int, text) is 'Raises the alert that Stripe refuses our key';
