-- booking.apply_dispute(): one row a dispute, the newest word wins, a closing word is final; a person is told.
select plan(13);
create temp table t as select test.captured_booking() as b;
create function pg_temp.say(p_status text, p_at timestamptz, p_more jsonb default '{}') returns void language sql as $$
  select booking.apply_dispute((test.payment(b)).id,
    jsonb_build_object('id', 'dp_1', 'object', 'dispute', 'amount', 5000, 'currency', 'usd', 'status', p_status, 'reason', 'fraudulent') || p_more, p_at)
  from t $$;
create function pg_temp.status() returns text language sql as $$ select status from booking.disputes where stripe_dispute_id = 'dp_1' $$;
do $$ begin perform pg_temp.say('needs_response', '2026-03-10 12:00Z'); end $$;
select results_eq($$ select d.payment_id, d.amount, d.currency::text, d.status, d.reason, d.stripe_seen_at from booking.disputes d $$,
  $$ select (test.payment(b)).id, 5000::bigint, 'usd', 'needs_response', 'fraudulent', '2026-03-10 12:00Z'::timestamptz from t $$, 'a row is kept');
select results_eq($$ select kind, subject, detail ->> 'status', detail ->> 'reason', (detail ->> 'amount')::int from booking.alerts $$,
  $$ values ('dispute', 'dp_1', 'needs_response', 'fraudulent', 5000) $$, 'a person is told');
do $$ begin perform pg_temp.say('under_review', '2026-03-11 12:00Z', '{"amount": 4000, "reason": null}'); end $$;
select results_eq($$ select status, amount, reason from booking.disputes $$, $$ values ('under_review', 4000::bigint, 'fraudulent') $$,
  'a newer word wins; a reason once known is kept');
do $$ begin perform pg_temp.say('needs_response', '2026-03-10 13:00Z'); end $$;
select is(pg_temp.status(), 'under_review', 'an older word changes nothing');
do $$ begin perform pg_temp.say('needs_response', '2026-03-11 12:00Z'); end $$;
select is(pg_temp.status(), 'under_review', 'of two words of the same second the order of arrival does not decide');
do $$ begin perform pg_temp.say('won', '2026-03-01 12:00Z'); end $$;
select is(pg_temp.status(), 'won', 'a closing word wins, however it is dated');
do $$ begin perform pg_temp.say('under_review', '2026-04-01 12:00Z'); end $$;
select is(pg_temp.status(), 'won', 'and is final');
do $$ begin perform pg_temp.say('lost', '2026-04-01 12:00Z'); end $$;
select is(pg_temp.status(), 'won', 'against another closing word too');
select is((select count(*) from booking.disputes), 1::bigint, 'one row a dispute');
do $$ begin perform pg_temp.say(s, '2026-03-10 12:00Z', jsonb_build_object('id', 'dp_' || s))
  from unnest(array['lost', 'warning_closed', 'prevented']) s;
  perform pg_temp.say('needs_response', '2026-05-10 12:00Z', jsonb_build_object('id', 'dp_' || s))
  from unnest(array['lost', 'warning_closed', 'prevented']) s; end $$;
select set_eq($$ select status from booking.disputes where stripe_dispute_id <> 'dp_1' $$, array['lost', 'warning_closed', 'prevented'],
  'lost, warning_closed and prevented are final');
do $$ begin perform pg_temp.say(null, '2026-03-10 12:00Z', '{"id": "dp_bare", "amount": null, "currency": null, "reason": null}'); end $$;
select results_eq($$ select status, amount, currency::text from booking.disputes where stripe_dispute_id = 'dp_bare' $$,
  $$ values ('needs_response', 0::bigint, 'usd') $$, 'what says nothing counts as open');
do $$ begin perform pg_temp.say('needs_response', '2026-03-10 12:00Z', '{"id": "dp_eur", "amount": 4300, "currency": "EUR"}'); end $$;
select results_eq($$ select amount, currency::text from booking.disputes where stripe_dispute_id = 'dp_eur' $$,
  $$ values (4300::bigint, 'eur') $$, 'a dispute has its own currency: that of the card');
select is((select times from booking.alerts where subject = 'dp_1'), 7, 'the alert of one dispute counts up');
select * from finish();
