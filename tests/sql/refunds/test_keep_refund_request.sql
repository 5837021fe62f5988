-- booking.keep_refund_request(): a refund request moves only along the edges of its transition table, whoever updates the row.
select * from no_plan();
create temp table b as select test.captured_booking() as id;
create function pg_temp.a_request(p_status text) returns uuid language sql as $$
  insert into booking.refund_requests (id, booking_id, payment_id, student_id, amount, currency, status, decided_by, decided_at, command_id)
  select gen_random_uuid(), b.id, b.payment_id, b.student_id, 10, b.currency, p_status::booking.refund_request_status,
    case when p_status <> 'pending' then 'admin' end, case when p_status <> 'pending' then now() end,
    case when p_status = 'refunded' then gen_random_uuid() end
  from booking.bookings b where b.id = (select id from b)
  returning id $$;
create function pg_temp.moved(p_from text, p_to text, p_legal boolean) returns text language plpgsql as $$
declare
  v_id uuid := pg_temp.a_request(p_from);
  v_update text := format($sql$
    update booking.refund_requests set status = %2$L, decided_by = 'admin', decided_at = now(),
      command_id = case when %2$L = 'refunded' then gen_random_uuid() end
    where id = %1$L $sql$, v_id, p_to);
begin
  execute 'set local role booking_owner';
  if p_legal then
    execute v_update;
    execute 'reset role';
    return is((select status::text from booking.refund_requests where id = v_id), p_to, format('%s -> %s', p_from, p_to));
  end if;
  begin
    execute v_update;
  exception when sqlstate 'PT409' then
    execute 'reset role';
    return is(sqlerrm, 'illegal_transition', format('%s -> %s is refused', p_from, p_to));
  end;
  execute 'reset role';
  return fail(format('%s -> %s is refused', p_from, p_to));
end
$$;
create temp table edges (from_status text, to_statuses text[]);
insert into edges values ('pending', '{approved, rejected}'), ('approved', '{refunded, pending}'), ('refunded', '{pending}'), ('rejected', '{}');
select pg_temp.moved(f::text, t::text, f = t or t::text = any (e.to_statuses))
from unnest(enum_range(null::booking.refund_request_status)) f, unnest(enum_range(null::booking.refund_request_status)) t, edges e
where e.from_status = f::text;
select is((select count(*) from edges), (select count(*) from unnest(enum_range(null::booking.refund_request_status))), 'every status was looked at');
create temp table q as select pg_temp.a_request('pending') as id;
select test.refused(format('update booking.refund_requests set status = %L, decided_by = %L, decided_at = now(), command_id = gen_random_uuid() where id = %L',
  'refunded', 'x', id), 'PT409', 'illegal_transition', jsonb_build_object('request_id', id, 'from', 'pending', 'to', 'refunded'),
  'DETAIL says which request and which step') from q;
select test.refused(format('update booking.refund_requests set %s where id = %L', change, id), 'PT409', 'append_only',
  jsonb_build_object('table', 'refund_requests', 'request_id', id), 'a fact stays: ' || change)
from q, unnest(array['id = gen_random_uuid()', 'booking_id = gen_random_uuid()', 'payment_id = gen_random_uuid()', 'student_id = ''x''',
  'amount = 11', 'currency = ''eur''']) change;
select test.refused(format(statement, id), 'PT409', 'append_only', '{"table": "refund_requests"}', 'it stays: ' || statement)
from q, unnest(array['delete from booking.refund_requests where id = %L', 'truncate booking.refund_requests cascade --%s']) statement;
select throws_ok(format('update booking.refund_requests set %s where id = %L', change, id), '23514', null, 'refused by the table: ' || change)
from q, unnest(array['status = ''approved''', 'decided_by = ''x''', 'command_id = gen_random_uuid()',
  'status = ''rejected'', decided_by = ''x'', decided_at = now(), command_id = gen_random_uuid()']) change;
select throws_ok($$ insert into booking.refund_requests (id, booking_id, payment_id, student_id, amount, currency)
  select gen_random_uuid(), id, payment_id, student_id, 0, currency from booking.bookings limit 1 $$, '23514', null, 'more than nothing is asked for');
select test.set_clock('2031-01-01 00:00Z');
update booking.refund_requests set reason = 'x', updated_at = '2000-01-01' where id = (select id from q);
select is((select updated_at from booking.refund_requests where id = q.id), '2031-01-01 00:00Z'::timestamptz, 'updated_at is the time of the change') from q;
select * from finish();
