-- booking.audit_settings(): whoever changes the rules leaves a row with what was and what is.
select * from no_plan();
do $$ begin
  perform booking.on_request('req-1', 'ann');
  update booking.settings set booking_timeout = '20 minutes';
  update booking.settings set booking_timeout = '20 minutes';
  insert into booking.refund_policies (min_notice, percent) values ('48 hours', 90);
  delete from booking.refund_policies where percent = 90;
end $$;
select results_eq($$ select action, actor, request_id, detail from booking.audit_log where action like '%.changed' order by id $$, $$ values
  ('settings.changed', 'ann', 'req-1', '{"booking_timeout": {"was": "00:30:00", "is": "00:20:00"}}'::jsonb),
  ('refund_policies.changed', 'ann', 'req-1', '{"percent": {"was": null, "is": 90}, "min_notice": {"was": null, "is": "48:00:00"}}'),
  ('refund_policies.changed', 'ann', 'req-1', '{"percent": {"was": 90, "is": null}, "min_notice": {"was": "48:00:00", "is": null}}') $$,
  'one row a change, none where nothing changed');
select * from finish();
