-- booking.apply_dispute(): one row a dispute, the newest word wins, a closing word is final; a person is told.
select plan(26);
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

-- a refund that Stripe refused for it before we had heard of it waits for it, too
create temp table late as select n, test.captured_booking() as b, null::uuid as id from unnest(array['disputed', 'poor', 'asked']) n;
create function pg_temp.late(p_n text) returns uuid language sql as $$ select b from late where n = p_n $$;
create function pg_temp.told(p_n text) returns text[] language sql as $$
  select coalesce(array_agg(a.kind order by a.kind), '{}') from booking.alerts a
  where a.resolved_at is null and a.subject in ((select l.id::text from late l where l.n = p_n), (test.payment(pg_temp.late(p_n))).id::text) $$;
do $$ begin
  update late set id = case n when 'asked' then test.approve(test.ask(b))
    else (select c.command_id from booking.cancel_booking_transaction(test.expert(b), b) c) end;
  perform booking.claim_stripe_command(id, 'w') from late;
  perform booking.fail_stripe_command(id, 'w', case n when 'disputed' then '{"http_status": 400, "code": "charge_disputed"}'
    else '{"http_status": 400, "code": "balance_insufficient"}' end::jsonb, n = 'asked') from late;
  update booking.stripe_commands c set status = 'dead', last_error = '{"code": "charge_disputed"}' from late l where l.n = 'asked' and c.id = l.id;
  perform booking.raise_alert('command_dead', id::text) from late where n = 'asked';
end $$;
select is(pg_temp.told(n), '{command_dead}', n || ': a person is told that the refund is dead') from late;
do $$ begin perform test.dispute(b) from late; end $$;
select is(test.commands(pg_temp.late('disputed')), array['capture_payment_intent done/applied', 'create_refund done/refused'], 'the dispute is why: the command is closed');
select is(pg_temp.told('disputed'), '{refund_held_by_dispute}', 'and the person is told that the refund waits');
select is(pg_temp.told('poor'), '{command_dead}', 'one that is dead for another cause stays');
select is(pg_temp.told('asked'), '{command_dead}', 'that of a request is decided by an administrator');
do $$ begin perform test.dispute(pg_temp.late('disputed'), 'won'); end $$;
select is(test.commands(pg_temp.late('disputed')), array['capture_payment_intent done/applied', 'create_refund done/refused', 'create_refund pending'],
  'won: it is sent anew');
select is(pg_temp.told('disputed'), '{}', 'and nobody has to see to it any more');

-- what is still held back after a closing word stays with the person
create temp table still as select n, test.captured_booking() as b from unnest(array['lost', 'two', 'asked']) n;
do $$ begin perform test.approve(test.ask(b)) from still where n = 'asked';
  perform test.dispute(b) from still; perform test.dispute(b, 'needs_response', 'dp_second') from still where n = 'two';
  perform booking.cancel_booking_transaction(test.expert(b), b) from still where n <> 'asked'; end $$;
create temp table held as select a.id, a.subject from booking.alerts a where a.kind = 'refund_held_by_dispute' and a.resolved_at is null;
do $$ begin perform test.dispute(b, case n when 'two' then 'won' else 'lost' end) from still; end $$;
select is((select a.resolved_at is null from booking.alerts a join held on held.id = a.id where a.subject = (test.payment(b)).id::text), n <> 'asked',
  n || ': the same alert as long as a refund is held back')
from still;
select is_empty($$ select * from booking.check_invariants() $$, 'the books are in order');
select * from finish();
