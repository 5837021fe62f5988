-- booking.report_stripe_key_refused(): the alert that Stripe refuses our key, outside any command.
select plan(3);
set local role booking_app;
do $$ begin perform booking.report_stripe_key_refused(401, 'api_key_expired'); end $$;
reset role;
select results_eq($$ select kind, subject, detail, times from booking.alerts $$,
  $$ values ('stripe_credentials', 'stripe', '{"http_status": 401, "code": "api_key_expired"}'::jsonb, 1) $$, 'it raises an alert');
do $$ begin perform booking.report_stripe_key_refused(403); end $$;
select results_eq($$ select subject, detail, times from booking.alerts $$,
  $$ values ('stripe', '{"http_status": 403, "code": null}'::jsonb, 2) $$, 'a repeated one only counts up, without a code too');
select lives_ok($$ select booking.report_stripe_key_refused(null) $$, 'nothing is refused');
select * from finish();
