-- What scenario `times` needs in its database, beside tests/sql/helpers: a clock that stands in a table, so that it can be
-- moved while somebody waits, and payments that are given back in parts, to a Stripe that is a table.
create table test.time (at timestamptz, shift interval not null);
insert into test.time values (null, '0');
grant usage on schema test to public;
grant select on test.time to public;
-- the time of the table, or the real one, wrong by so much
create or replace function booking.clock() returns timestamptz language sql volatile parallel safe
as $$ select coalesce(t.at, pg_catalog.clock_timestamp()) + t.shift from test.time t $$;

create table test.stripe_refunds (id text primary key, payment_id uuid, command_id uuid, amount bigint, status text, is_told boolean);
create index on test.stripe_refunds (payment_id);

-- What Stripe has given back of a payment.
create function test.given_back(p_payment uuid) returns bigint language sql volatile
as $$ select coalesce(sum(f.amount) filter (where f.status <> 'failed'), 0)::bigint from test.stripe_refunds f where f.payment_id = p_payment $$;

-- Tells us of some of the refunds that we do not know yet as they are.
create function test.tell(p_booking uuid, p_share double precision) returns void language plpgsql volatile
as $$
declare
  v_row record;
begin
  for v_row in
    select f.* from test.stripe_refunds f where f.payment_id = (test.payment(p_booking)).id and not f.is_told and random() <= p_share order by random()
  loop
    update test.stripe_refunds f set is_told = true where f.id = v_row.id;
    perform test.event(case v_row.status when 'failed' then 'refund.failed' else 'refund.updated' end,
      test.refund(p_booking, v_row.amount, v_row.id, v_row.status, v_row.command_id));
  end loop;
end
$$;

-- The outbox runs its open command of a booking: Stripe carries it out and answers, or its answer is lost.
create function test.send_refund(p_booking uuid, p_is_lost boolean) returns void language plpgsql volatile
as $$
declare
  v_payment booking.payments := test.payment(p_booking);
  v_command record;
  v_amount bigint;
  v_left bigint;
  v_unknown bigint;
  v_refund test.stripe_refunds;
  v_open uuid := test.open_command(p_booking);
begin
  update booking.stripe_commands c set run_at = now() where c.id = v_open;
  select * into v_command from booking.claim_stripe_command(v_open, 'split');
  if v_command.command_id is null then
    return;
  end if;
  v_amount := (v_command.params ->> 'amount')::bigint;
  select f.* into v_refund from test.stripe_refunds f where f.command_id = v_command.command_id;
  if not found then
    v_left := v_payment.amount_captured - test.given_back(v_payment.id);
    select coalesce(sum(f.amount), 0) into v_unknown from test.stripe_refunds f where f.payment_id = v_payment.id and not f.is_told;
    if v_amount > v_left + v_unknown then
      raise exception 'VIOLATED: % of % was asked for, % is left', v_amount, v_payment.amount_captured, v_left;
    end if;
    if v_amount > v_left then
      perform booking.fail_stripe_command(v_command.command_id, 'split',
        '{"type": "invalid_request_error", "code": "charge_already_refunded", "http_status": 400}', false);
      return;
    end if;
    insert into test.stripe_refunds values (test.unique('re'), v_payment.id, v_command.command_id, v_amount,
      case when random() < 0.3 then 'pending' else 'succeeded' end, not p_is_lost)
    returning * into v_refund;
  end if;
  if p_is_lost then
    perform booking.fail_stripe_command(v_command.command_id, 'split', '{"type": "api_connection_error"}', true);
  else
    update test.stripe_refunds f set is_told = true where f.id = v_refund.id;
    perform booking.complete_stripe_command(v_command.command_id, 'split',
      test.refund(p_booking, v_refund.amount, v_refund.id, v_refund.status, v_command.command_id));
  end if;
end
$$;

-- One captured payment, given back in random parts: by requests that are approved or rejected, by the policy of its
-- cancellation, by hand at Stripe, with answers lost and refunds that fail later. Raises VIOLATED when more is asked for,
-- or given back, than was captured, or when the books differ in the end. Returns how many parts were given back.
create function test.split(p_slot uuid) returns int language plpgsql volatile
as $$
declare
  v_booking uuid := test.book(p_slot);
  v_payment booking.payments;
  v_step int;
  v_amount bigint;
  v_request uuid;
  v_steps int := 2 + floor(random() * 6)::int;
begin
  perform test.prepare(v_booking);
  perform test.event('payment_intent.succeeded', test.intent(v_booking, 'succeeded'));
  v_payment := test.payment(v_booking);
  v_step := booking.currency_step(v_payment.currency);
  for i in 1 .. v_steps loop
    v_amount := v_step * (1 + floor(random() * v_payment.amount / v_step * (0.2 + random())))::bigint;
    begin
      case floor(random() * 10)::int
        when 0, 1, 2 then
          v_request := test.ask(v_booking, case when random() < 0.8 then v_amount end);
          if random() < 0.8 then
            perform test.approve(v_request);
          end if;
        when 3 then
          perform test.approve(q.id, case when random() < 0.8 then 'approve' else 'reject' end)
          from booking.refund_requests q where q.payment_id = v_payment.id and q.status = 'pending';
        when 4 then
          -- by hand at Stripe
          if v_amount <= v_payment.amount - test.given_back(v_payment.id) then
            insert into test.stripe_refunds values (test.unique('re'), v_payment.id, null, v_amount, 'succeeded', false);
          end if;
        when 5 then
          perform booking.cancel_booking_transaction(
            case when random() < 0.8 then test.student(v_booking) else test.expert(v_booking) end, v_booking);
        when 6 then
          perform test.send_refund(v_booking, true);
        when 7 then
          update test.stripe_refunds f set status = 'failed', is_told = false
          where f.payment_id = v_payment.id and f.status <> 'failed' and random() < 0.3;
        else
          perform test.send_refund(v_booking, false);
          perform test.tell(v_booking, random());
      end case;
    exception when sqlstate 'PT400' or sqlstate 'PT409' then
      null; -- a refusal with a code of its own
    end;
    if test.given_back(v_payment.id) > v_payment.amount then
      raise exception 'VIOLATED: % was given back of %', test.given_back(v_payment.id), v_payment.amount;
    end if;
  end loop;

  for i in 1 .. 30 loop
    perform test.tell(v_booking, 1);
    update test.stripe_refunds f set status = 'succeeded', is_told = false where f.payment_id = v_payment.id and f.status = 'pending';
    exit when test.open_command(v_booking) is null
      and not exists (select from test.stripe_refunds f where f.payment_id = v_payment.id and not f.is_told);
    perform test.send_refund(v_booking, false);
  end loop;
  v_payment := test.payment(v_booking);
  if v_payment.amount_refunded <> test.given_back(v_payment.id) or v_payment.amount_refunded > v_payment.amount_captured then
    raise exception 'VIOLATED: % of % is given back, Stripe says %', v_payment.amount_refunded, v_payment.amount_captured,
      test.given_back(v_payment.id);
  end if;
  if test.open_command(v_booking) is not null then
    raise exception 'VIOLATED: its command does not end';
  end if;
  return (select count(*) from test.stripe_refunds f where f.payment_id = v_payment.id and f.status = 'succeeded');
end
$$;
