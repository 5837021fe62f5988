-- booking.keep_booking(): a booking moves only along the edges of its transition table, whoever updates the row.
select * from no_plan();

create function pg_temp.a_booking(p_status text) returns uuid language sql as $$
  insert into booking.bookings (id, slot_id, session_id, student_id, expert_id, payment_id, seat_part, status, confirmation, currency,
    amount, scheduled_at, ends_at, cancelled_by, refund_percent, closed_at)
  values (gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), 'student', 'expert', gen_random_uuid(), 0,
    p_status::booking.booking_status, 'expert', 'usd', 1000, now(), now(),
    case p_status when 'cancelled' then 'student' end, case when p_status in ('declined', 'cancelled') then 100 end,
    case when p_status not in ('pending', 'confirmed') then now() end)
  returning id
$$;

create function pg_temp.moved(p_from text, p_to text, p_legal boolean) returns text language plpgsql as $$
declare
  v_id uuid := pg_temp.a_booking(p_from);
  v_update text := format($sql$
    update booking.bookings set status = %2$L, cancelled_by = case %2$L when 'cancelled' then 'student' end,
      refund_percent = case when %2$L in ('declined', 'cancelled') then 100 end,
      closed_at = case when %2$L not in ('pending', 'confirmed') then now() end
    where id = %1$L $sql$, v_id, p_to);
begin
  execute 'set local role booking_owner';
  if p_legal then
    execute v_update;
    execute 'reset role';
    return is((select status::text from booking.bookings where id = v_id), p_to, format('%s -> %s', p_from, p_to));
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

create temp table edges (from_status text, to_status text);
insert into edges values ('pending', 'confirmed'), ('pending', 'declined'), ('pending', 'cancelled'),
  ('confirmed', 'cancelled'), ('confirmed', 'completed');
select pg_temp.moved(f::text, t::text, f = t or exists (select from edges e where (e.from_status, e.to_status) = (f::text, t::text)))
from unnest(enum_range(null::booking.booking_status)) f, unnest(enum_range(null::booking.booking_status)) t;

create temp table b as select pg_temp.a_booking('pending') as id, pg_temp.a_booking('declined') as declined;
select test.refused(format('update booking.bookings set status = %L where id = %L', 'confirmed', declined), 'PT409', 'illegal_transition',
  jsonb_build_object('booking_id', declined, 'from', 'declined', 'to', 'confirmed'), 'DETAIL says which booking and which step') from b;

select test.set_clock('2031-01-01 00:00Z');
update booking.bookings set details = '{"note": "x"}', updated_at = '2000-01-01' where id = (select id from b);
select is((test.booking(id)).updated_at, '2031-01-01 00:00Z'::timestamptz, 'updated_at is the time of the change') from b;
create temp table confirmed as select pg_temp.a_booking('pending') as id;
update booking.bookings set status = 'confirmed', updated_at = '2000-01-01' where id = (select id from confirmed);
select is((test.booking(id)).updated_at, '2031-01-01 00:00Z'::timestamptz, 'also when it is confirmed') from confirmed;

-- what belongs to a status
select test.refused(format('update booking.bookings set %s where id = %L', change, id), 'PT409', 'inconsistent_booking',
  jsonb_build_object('booking_id', id, 'status', status), what)
from b, (values
  ('pending', 'cancelled_by = ''student''', 'a pending one that somebody cancelled'),
  ('pending', 'refund_percent = 0', 'a pending one with a refund'),
  ('pending', 'closed_at = now()', 'a pending one that ended'),
  ('confirmed', 'status = ''confirmed'', closed_at = now()', 'a confirmed one that ended'),
  ('confirmed', 'status = ''confirmed'', cancelled_by = ''student''', 'a confirmed one that somebody cancelled'),
  ('confirmed', 'status = ''confirmed'', refund_percent = 0', 'a confirmed one with a refund'),
  ('cancelled', 'status = ''cancelled'', refund_percent = 100, closed_at = now()', 'a cancelled one that nobody cancelled'),
  ('cancelled', 'status = ''cancelled'', refund_percent = 100, closed_at = now(), cancelled_by = ''somebody''', 'one cancelled by somebody'),
  ('cancelled', 'status = ''cancelled'', closed_at = now(), cancelled_by = ''student''', 'a cancelled one without a percentage'),
  ('cancelled', 'status = ''cancelled'', refund_percent = 101, closed_at = now(), cancelled_by = ''student''', 'more than everything back'),
  ('cancelled', 'status = ''cancelled'', refund_percent = -1, closed_at = now(), cancelled_by = ''student''', 'less than nothing back'),
  ('cancelled', 'status = ''cancelled'', refund_percent = 100, cancelled_by = ''student''', 'a cancelled one without its time'),
  ('declined', 'status = ''declined'', closed_at = now()', 'a declined one without a percentage'),
  ('declined', 'status = ''declined'', refund_percent = 100', 'a declined one without its time'),
  ('declined', 'status = ''declined'', refund_percent = 100, closed_at = now(), cancelled_by = ''expert''', 'a declined one that somebody cancelled'))
  v (status, change, what);
select * from finish();
