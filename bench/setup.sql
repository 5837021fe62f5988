-- What the benchmarks load, and the floors they are measured against. Everything has a number: slot 7 is booked by student
-- 7 of slot 7's expert in booking 7. Loaded straight into the tables, so that ten million rows take minutes; what is loaded
-- keeps every rule of check_invariants().
create schema bench;

create function bench.slot_id(p_number bigint) returns uuid language sql immutable
as $$ select ('00000000-0000-7000-8000-' || lpad(p_number::text, 12, '0'))::uuid $$;
create function bench.booking_id(p_number bigint) returns uuid language sql immutable
as $$ select ('00000000-0000-7000-9000-' || lpad(p_number::text, 12, '0'))::uuid $$;
create function bench.payment_id(p_number bigint) returns uuid language sql immutable
as $$ select ('00000000-0000-7000-a000-' || lpad(p_number::text, 12, '0'))::uuid $$;
create function bench.session_id(p_expert_no int) returns uuid language sql immutable
as $$ select ('00000000-0000-7000-b000-' || lpad(p_expert_no::text, 12, '0'))::uuid $$;

-- 1,000 experts with a session each; slots are dealt out among them, an hour each, from a month ahead.
create procedure bench.load_experts() language sql
as $$
  insert into booking.experts (expert_id) select 'expert-' || n from generate_series(1, 1000) n;
  insert into booking.sessions (id, expert_id, title, amount, currency)
  select bench.session_id(e.expert_no), e.expert_id, 'A lesson', 5000, 'usd' from booking.experts e;
$$;

-- Slots p_first to p_first + p_count - 1, of one counter each (p_capacity up to 16).
create procedure bench.load_slots(p_first bigint, p_count bigint, p_capacity int default 1) language sql
as $$
  insert into booking.slots (id, expert_id, expert_no, session_id, starts_at, ends_at, capacity, parts, confirmation)
  select bench.slot_id(n), 'expert-' || n % 1000 + 1, n % 1000 + 1, bench.session_id((n % 1000)::int + 1),
    h.at, h.at + interval '1 hour', p_capacity, 1, 'expert'
  from generate_series(p_first, p_first + p_count - 1) n,
    lateral (select date_trunc('hour', now(), 'UTC') + interval '30 days' + n / 1000 * interval '1 hour' as at) h;
  insert into booking.slot_seats (slot_id, part, capacity, expert_id, starts_at, ends_at, session_id, title, amount, currency,
    confirmation, parts)
  select s.id, 0, s.capacity, s.expert_id, s.starts_at, s.ends_at, s.session_id, 'A lesson', 5000, 'usd', s.confirmation, s.parts from booking.slots s
  where s.id between bench.slot_id(p_first) and bench.slot_id(p_first + p_count - 1);
  insert into booking.stat_hours as h (metric, hour, quantity, amount)
  select 'slots', date_trunc('hour', s.starts_at, 'UTC'), sum(s.capacity), count(*) from booking.slots s
  where s.id between bench.slot_id(p_first) and bench.slot_id(p_first + p_count - 1) group by 2
  on conflict (metric, hour, currency) do update set quantity = h.quantity + excluded.quantity, amount = h.amount + excluded.amount;
$$;

-- A class of p_seats seats in 32 counters, before all other slots.
create procedure bench.load_class(p_number bigint, p_seats int) language sql
as $$
  insert into booking.slots (id, expert_id, expert_no, session_id, starts_at, ends_at, capacity, parts)
  select bench.slot_id(p_number), 'expert-1', 1, bench.session_id(1), h.at, h.at + interval '1 hour', p_seats, 32
  from (select date_trunc('hour', now(), 'UTC') + interval '10 days' as at) h;
  insert into booking.slot_seats (slot_id, part, capacity, expert_id, starts_at, ends_at, session_id, title, amount, currency,
    confirmation, parts)
  select s.id, p, p_seats / 32 + (p < p_seats % 32)::int, s.expert_id, s.starts_at, s.ends_at, s.session_id, 'A lesson', 5000, 'usd',
    s.confirmation, s.parts
  from booking.slots s, generate_series(0, 31) p where s.id = bench.slot_id(p_number);
  insert into booking.stat_hours (metric, hour, quantity)
  select 'slots', s.starts_at, s.capacity from booking.slots s where s.id = bench.slot_id(p_number);
$$;

-- Bookings of the slots p_first to p_first + p_count - 1 (capacity 1), p_age old: pending, or expired long ago. Of
-- p_students students, booking n being of student n % p_students.
create procedure bench.load_bookings(p_first bigint, p_count bigint, p_status booking.booking_status, p_age interval, p_students bigint) language sql
as $$
  insert into booking.bookings (id, slot_id, session_id, student_id, expert_id, payment_id, seat_part, status, confirmation, currency,
    amount, scheduled_at, ends_at, created_at, updated_at, cancelled_by, cancellation_reason, refund_percent, closed_at)
  select bench.booking_id(n), s.id, s.session_id, 'student-' || n % p_students, s.expert_id, bench.payment_id(n), 0, p_status, s.confirmation,
    'usd', 5000, s.starts_at, s.ends_at, t.at, t.at, d.by, d.reason, d.percent, d.at
  from generate_series(p_first, p_first + p_count - 1) n
  join booking.slots s on s.id = bench.slot_id(n)
  cross join lateral (select now() - p_age + n * interval '1 microsecond' as at) t
  left join lateral (select 'system' as by, 'expired' as reason, 100 as percent, t.at + interval '30 minutes' as at) d on p_status = 'cancelled';
  update booking.slot_seats q set taken = 1, is_open = q.capacity > 1
  where p_status = 'pending' and q.slot_id between bench.slot_id(p_first) and bench.slot_id(p_first + p_count - 1);
  insert into booking.booking_events (booking_id, from_status, to_status, actor, reason)
  select b.id, 'pending', b.status, 'system', 'expired' from booking.bookings b
  where b.status = 'cancelled' and b.id between bench.booking_id(p_first) and bench.booking_id(p_first + p_count - 1);
  insert into booking.stat_hours as h (metric, hour, quantity, amount)
  select l.metric::booking.stat_metric, l.hour, sum(l.quantity), sum(l.amount)
  from booking.bookings b, lateral (values ('booked', date_trunc('hour', b.created_at, 'UTC'), 1, 0),
    (case b.status when 'pending' then 'seats' else 'expired' end,
     date_trunc('hour', case b.status when 'pending' then b.scheduled_at else b.created_at end, 'UTC'), 1,
     case b.status when 'pending' then -1 else 0 end)) l (metric, hour, quantity, amount)
  where b.id between bench.booking_id(p_first) and bench.booking_id(p_first + p_count - 1)
  group by 1, 2
  on conflict (metric, hour, currency) do update set quantity = h.quantity + excluded.quantity, amount = h.amount + excluded.amount;
$$;

-- A payment for each of these bookings, its PaymentIntent being pi_bench_<number>.
create procedure bench.load_payments(p_first bigint, p_count bigint, p_status booking.payment_status) language sql
as $$
  insert into booking.payments (id, booking_id, amount, currency, status, stripe_payment_intent_id)
  select bench.payment_id(n), bench.booking_id(n), 5000, 'usd', p_status, 'pi_bench_' || lpad(n::text, 12, '0')
  from generate_series(p_first, p_first + p_count - 1) n;
$$;

-- -- a shop of many bookings -----------------------------------------------------------------------------------------
-- Ten million rows are loaded without indexes, which are built afterwards: undress, load_shop_slots beside
-- load_shop_bookings, dress, load_shop_stats. The shop has 1,000 slots of one seat an hour, one booking each; slot 0 starts
-- in 30 days, the others go back in time from there. Bookings 0 to p_pending - 1 are pending, in p_groups groups of the
-- same size whose age differs by a day, the first group being the oldest and the last one a day old: each group can be
-- cleaned by itself. The others have expired long ago. The constraint against overlapping slots is left out: it takes
-- longer than all the rest (a quarter of an hour at ten million), and nothing that is measured here writes a slot.
create table bench.undressed (place int generated always as identity, tab text not null, statement text not null);

create procedure bench.undress() language plpgsql
as $$
declare
  v_tables constant oid[] := array['booking.slots', 'booking.slot_seats', 'booking.bookings', 'booking.booking_events']::regclass[];
  v record;
begin
  for v in
    select c.conrelid::regclass::text as tab, c.conname as name, c.contype as type, pg_get_constraintdef(c.oid) as def
    from pg_constraint c
    where c.contype = 'f' and (c.conrelid = any (v_tables) or c.confrelid = any (v_tables))
      or c.contype in ('p', 'u', 'x') and c.conrelid = any (v_tables)
    order by c.contype <> 'f'
  loop
    if v.type <> 'x' then
      insert into bench.undressed (tab, statement)
      values (v.tab, format('alter table %s add constraint %I %s', v.tab, v.name, v.def));
    end if;
    execute format('alter table %s drop constraint %I', v.tab, v.name);
  end loop;
  for v in
    select i.indrelid::regclass::text as tab, i.indexrelid::regclass::text as name, pg_get_indexdef(i.indexrelid) as def
    from pg_index i where i.indrelid = any (v_tables)
  loop
    insert into bench.undressed (tab, statement) values (v.tab, v.def);
    execute format('drop index %s', v.name);
  end loop;
end
$$;

create procedure bench.load_shop_slots(p_now timestamptz, p_first bigint, p_count bigint, p_pending bigint) language sql
as $$
  insert into booking.slots (id, expert_id, expert_no, session_id, starts_at, ends_at, capacity, parts, confirmation)
  select bench.slot_id(n), 'expert-' || n % 1000 + 1, n % 1000 + 1, bench.session_id((n % 1000)::int + 1),
    h.at, h.at + interval '1 hour', 1, 1, 'expert'
  from generate_series(p_first, p_first + p_count - 1) n,
    lateral (select date_trunc('hour', p_now, 'UTC') + interval '30 days' - n / 1000 * interval '1 hour' as at) h;
  insert into booking.slot_seats (slot_id, part, capacity, taken, is_open, expert_id, starts_at, ends_at, session_id, title, amount, currency,
    confirmation, parts)
  select bench.slot_id(n), 0, 1, (n < p_pending)::int, n >= p_pending, 'expert-' || n % 1000 + 1, h.at, h.at + interval '1 hour',
    bench.session_id((n % 1000)::int + 1), 'A lesson', 5000, 'usd', 'expert', 1
  from generate_series(p_first, p_first + p_count - 1) n,
    lateral (select date_trunc('hour', p_now, 'UTC') + interval '30 days' - n / 1000 * interval '1 hour' as at) h;
$$;

create procedure bench.load_shop_bookings(
  p_now timestamptz, p_first bigint, p_count bigint, p_pending bigint, p_groups bigint, p_students bigint) language sql
as $$
  insert into booking.bookings (id, slot_id, session_id, student_id, expert_id, payment_id, seat_part, status, confirmation, currency,
    amount, scheduled_at, ends_at, created_at, updated_at, cancelled_by, cancellation_reason, refund_percent, closed_at)
  select bench.booking_id(n), bench.slot_id(n), bench.session_id((n % 1000)::int + 1), 'student-' || n % p_students,
    'expert-' || n % 1000 + 1, bench.payment_id(n), 0,
    case when n < p_pending then 'pending' else 'cancelled' end::booking.booking_status, 'expert', 'usd', 5000,
    h.at, h.at + interval '1 hour', t.at, t.at,
    case when n >= p_pending then 'system' end, case when n >= p_pending then 'expired' end,
    case when n >= p_pending then 100 end, case when n >= p_pending then t.at + interval '30 minutes' end
  from generate_series(p_first, p_first + p_count - 1) n,
    lateral (select date_trunc('hour', p_now, 'UTC') + interval '30 days' - n / 1000 * interval '1 hour' as at) h,
    lateral (select case when n < p_pending
      then p_now - (p_groups - n * p_groups / p_pending) * interval '1 day' + n * interval '1 microsecond'
      else h.at - interval '120 days' end as at) t;
  insert into booking.booking_events (booking_id, from_status, to_status, actor, reason)
  select bench.booking_id(n), 'pending', 'cancelled', 'system', 'expired'
  from generate_series(greatest(p_first, p_pending), p_first + p_count - 1) n;
$$;

-- Holds of one student each in a class of 32 counters, made by load_class: p_count pending bookings, in groups as above.
create procedure bench.load_class_holds(p_class bigint, p_now timestamptz, p_count bigint, p_groups bigint) language sql
as $$
  insert into booking.bookings (id, slot_id, session_id, student_id, expert_id, payment_id, seat_part, confirmation, currency,
    amount, scheduled_at, ends_at, created_at, updated_at)
  select bench.booking_id(p_class - p_count + n), s.id, s.session_id, 'holder-' || n, s.expert_id,
    bench.payment_id(p_class - p_count + n), n % 32, s.confirmation, 'usd', 5000, s.starts_at, s.ends_at, t.at, t.at
  from generate_series(0, p_count - 1) n,
    lateral (select p_now - (p_groups - n * p_groups / p_count) * interval '1 day' + n * interval '1 microsecond' as at) t,
    booking.slots s
  where s.id = bench.slot_id(p_class);
  update booking.slot_seats q set taken = h.held, is_open = h.held < q.capacity
  from booking.slot_seats o,
    lateral (select count(*) as held from booking.bookings b where b.slot_id = o.slot_id and b.seat_part = o.part) h
  where q.slot_id = bench.slot_id(p_class) and (o.slot_id, o.part) = (q.slot_id, q.part);
  insert into booking.stat_hours as h (metric, hour, quantity, amount)
  select 'booked'::booking.stat_metric, date_trunc('hour', b.created_at, 'UTC'), count(*), 0
  from booking.bookings b where b.slot_id = bench.slot_id(p_class) group by 2
  union all
  select 'seats', s.starts_at, p_count, 0 from booking.slots s where s.id = bench.slot_id(p_class)
  on conflict (metric, hour, currency) do update set quantity = h.quantity + excluded.quantity;
$$;

-- Everything that the statistics know of these slots and bookings.
create procedure bench.load_shop_stats() language sql
as $$
  insert into booking.stat_hours (metric, hour, quantity, amount)
  select 'slots'::booking.stat_metric, s.starts_at, count(*), count(*) from booking.slots s group by 2
  union all
  select l.metric, date_trunc('hour', l.at, 'UTC'), count(*), min(l.amount) * count(*)
  from booking.bookings b,
    lateral (values ('seats'::booking.stat_metric, b.scheduled_at, -1), ('booked', b.created_at, 0)) l (metric, at, amount)
  where b.status = 'pending' group by 1, 2
  union all
  select m.metric, h.hour, h.bookings, 0
  from (select b.created_at as hour, count(*) as bookings from booking.bookings b where b.status = 'cancelled' group by 1) h,
    unnest(array['booked', 'expired']::booking.stat_metric[]) m (metric);
$$;

-- -- the floors -------------------------------------------------------------------------------------------------------
-- The least that an honest function can do for the same purpose: no audit, no statistics, no rules but the one that matters.
create schema floor;
grant usage on schema floor, bench to public;

create table floor.slots (id uuid primary key, capacity int not null, taken int not null default 0);
create table floor.bookings (
  id uuid primary key,
  slot_id uuid not null,
  student_id text not null,
  status text not null default 'pending',
  created_at timestamptz not null default clock_timestamp()
);
create table floor.events (id bigint generated always as identity primary key, booking_id uuid not null, status text not null);
create table floor.webhook_events (id text primary key, payload jsonb not null);

create function floor.book(p_student_id text, p_slot_id uuid) returns uuid language plpgsql
as $$
declare
  v_id uuid;
begin
  update floor.slots s set taken = s.taken + 1 where s.id = p_slot_id and s.taken < s.capacity;
  if not found then
    raise exception 'full';
  end if;
  insert into floor.bookings (id, slot_id, student_id) values (gen_random_uuid(), p_slot_id, p_student_id) returning id into v_id;
  return v_id;
end
$$;

-- One update, one insert: what confirming and cancelling cannot do without.
create function floor.decide(p_booking_id uuid, p_status text) returns text language plpgsql
as $$
begin
  update floor.bookings b set status = p_status where b.id = p_booking_id and b.status = 'pending';
  if not found then
    raise exception 'decided before';
  end if;
  insert into floor.events (booking_id, status) values (p_booking_id, p_status);
  return p_status;
end
$$;
grant all on all tables in schema floor to public;
