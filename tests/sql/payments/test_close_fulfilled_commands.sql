-- booking.close_fulfilled_commands(): a dead command whose wish came true in another way is closed, its alert resolved.
select plan(21);
create function pg_temp.dead(p_booking uuid) returns uuid language plpgsql as $$
declare v_id uuid;
begin
  select c.id into v_id from booking.stripe_commands c where c.payment_id = (test.payment(p_booking)).id and c.status = 'pending';
  perform booking.claim_stripe_command(v_id, 'w');
  perform booking.fail_stripe_command(v_id, 'w', '{"type": "invalid_request_error", "code": "charge_disputed", "http_status": 400}', false);
  return v_id;
end $$;
create function pg_temp.state(p_command uuid) returns text language sql as
  $$ select status || coalesce(' ' || outcome, '') from booking.stripe_commands where id = p_command $$;
create function pg_temp.open_alerts(p_command uuid) returns bigint language sql as
  $$ select count(*) from booking.list_alerts() where kind = 'command_dead' and subject = p_command::text $$;

create temp table r as select test.captured_booking() as b;
do $$ begin perform booking.cancel_booking_transaction((test.booking(b)).expert_id, b) from r; end $$;
create temp table rc as select pg_temp.dead(b) as id from r;
select is(pg_temp.state(id), 'dead', 'a refund that Stripe refuses is dead') from rc;
do $$ begin perform test.event('refund.created', test.refund(b, 2000, 're_hand_1', 'succeeded')) from r; end $$;
select is(pg_temp.state(id), 'dead', 'part of it given back by hand is not enough') from rc;
select is(pg_temp.open_alerts(id), 1::bigint, 'its alert stays') from rc;
do $$ begin perform test.event('refund.created', test.refund(b, 3000, 're_hand_2', 'succeeded')) from r; end $$;
select is(pg_temp.state(id), 'done superseded', 'all of it given back by hand closes it') from rc;
select is(pg_temp.open_alerts(id), 0::bigint, 'and resolves its alert') from rc;

create temp table k as select test.captured_booking() as b;
do $$ begin perform booking.cancel_booking_transaction((test.booking(b)).expert_id, b) from k; end $$;
create temp table kc as select pg_temp.dead(b) as id from k;
do $$ begin perform test.event('charge.refunded', test.charge(b, true, 5000)) from k; end $$;
select is(pg_temp.state(id), 'done superseded', 'what only the charge shows closes it, too') from kc;

create temp table h as select test.make_slot() as slot;
create temp table hb as select test.book(slot) as b from h;
do $$ begin perform test.authorize(b) from hb; perform booking.confirm_booking_transaction((test.booking(b)).expert_id, b) from hb; end $$;
create temp table hc as select pg_temp.dead(b) as id from hb;
select is(pg_temp.state(id), 'dead', 'a capture that nobody could make is dead') from hc;
do $$ begin perform test.event('payment_intent.amount_capturable_updated', test.intent(b, 'requires_capture')) from hb; end $$;
select is(pg_temp.state(id), 'dead', 'a hold is no capture') from hc;
do $$ begin perform test.event('payment_intent.succeeded', test.intent(b, 'succeeded')) from hb; end $$;
select is(pg_temp.state(id), 'done superseded', 'captured in the dashboard, it is closed') from hc;

-- the object beside a refusal that nobody has listed
create temp table n as select test.make_slot() as slot;
create temp table nb as select test.book(slot) as b from n;
do $$ begin perform test.authorize(b) from nb; perform booking.confirm_booking_transaction((test.booking(b)).expert_id, b) from nb; end $$;
create temp table nc as select c.id, nb.b from nb join booking.stripe_commands c on c.payment_id = (test.payment(b)).id and c.status = 'pending';
do $$ begin
  perform booking.claim_stripe_command(id, 'w') from nc;
  perform booking.fail_stripe_command(id, 'w', jsonb_build_object('code', 'new_code', 'http_status', 400,
    'payment_intent', test.intent(b, 'canceled')), false) from nc;
end $$;
select is(pg_temp.state(id), 'done superseded', 'a hold that is gone leaves nothing to capture') from nc;
select is(pg_temp.open_alerts(id), 0::bigint, 'and nothing for a person to do') from nc;
select is_empty('select * from booking.check_invariants()', 'the books are in order');
-- refund requests
create temp table p as select test.captured_booking('10 hours') as b;
create temp table pq as select test.ask(b, 2000) as id from p;
create temp table pc as select test.approve(id) as id from pq;
do $$ begin perform booking.claim_stripe_command(id, 'w') from pc; perform booking.fail_stripe_command(id, 'w', '{"type": "api_connection_error"}', false) from pc; end $$;
do $$ begin perform booking.cancel_booking_transaction(test.student(b), b) from p; perform test.event('refund.created', test.refund(b, 2600, 're_p')) from p; end $$;
select is(pg_temp.state(id), 'dead', 'a request is not paid because the policy is') from pc;
select is(pg_temp.open_alerts(id), 1::bigint, 'its alert stays') from pc;
do $$ begin perform test.event('refund.created', test.refund(b, 2000, 're_pq', 'pending', pc.id)) from p, pc; end $$;
select is(pg_temp.state(id), 'done applied', 'its own refund was made after all: the command is done') from pc;
select is((test.request(id)).status::text, 'approved', 'its request waits for the refund') from pq;
select is(pg_temp.open_alerts(id), 0::bigint, 'the alert is resolved') from pc;
do $$ begin perform test.event('refund.updated', test.refund(b, 2000, 're_pq', 'succeeded', pc.id)) from p, pc; end $$;
select is((test.request(id)).status::text, 'refunded', 'and then it is refunded') from pq;
create temp table o as select test.captured_booking('10 hours') as b;
do $$ begin perform booking.cancel_booking_transaction(test.student(b), b) from o; end $$;
create temp table oc as select test.open_command(b) as id from o;
create temp table oq as select test.ask(b, 2500) as id from o;
do $$ begin perform test.approve(id) from oq; perform booking.claim_stripe_command(id, 'w') from oc; perform booking.fail_stripe_command(id, 'w', '{"type": "api_connection_error"}', false) from oc;
  perform test.run_commands(b) from o; end $$;
select is((test.request(id)).status::text, 'refunded', 'a request on top of the policy is paid') from oq;
select is(pg_temp.state(id), 'dead', 'which does not pay what the policy owes') from oc;
do $$ begin perform test.event('refund.created', test.refund(b, 2500, 're_o')) from o; end $$;
select is(pg_temp.state(id), 'done superseded', 'that is paid by hand') from oc;
select * from finish();
