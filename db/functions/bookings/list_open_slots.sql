-- Slots that start within [p_from, p_to), have not started and have a seat left, in order of their start, a page at a
-- time: p_after is the last slot of the page before. A slot open to several sessions has no session, title and price.
-- One plan for every call, in the order of the index: planned anew, a page took longer to plan than to read; left to itself, a
-- plan that does not know the limit would read and sort the whole period.
-- Locks: none. Errors: PT400 invalid_request (DETAIL.field from, to, limit) · PT404 slot_not_found (p_after).
create or replace function booking.list_open_slots(
  p_from timestamptz,
  p_to timestamptz,
  p_expert_id text default null,
  p_after uuid default null,
  p_limit int default 100
)
returns table (
  slot_id uuid,
  expert_id text,
  session_id uuid,
  title text,
  amount bigint,
  currency text,
  starts_at timestamptz,
  ends_at timestamptz,
  capacity int,
  seats_left int,
  confirmation booking.confirmation_mode
)
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set jit = off
set enable_bitmapscan = off
set enable_sort = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
#variable_conflict use_column
declare
  v_from timestamptz;
  v_after uuid := coalesce(p_after, '00000000-0000-0000-0000-000000000000');
begin
  if p_from is null then
    perform booking.refuse(400, 'invalid_request', '{"field": "from"}', 'Give the start of the period.');
  end if;
  if p_to is null or p_to <= p_from then
    perform booking.refuse(400, 'invalid_request', '{"field": "to"}', 'Give an end of the period, after its start.');
  end if;
  if p_limit is null or p_limit not between 1 and 500 then
    perform booking.refuse(400, 'invalid_request', '{"field": "limit"}', 'A page has 1 to 500 slots.');
  end if;
  v_from := greatest(p_from, booking.clock() + interval '1 microsecond');
  if p_after is not null then
    select greatest(v_from, s.starts_at), case when s.starts_at >= v_from then p_after else '00000000-0000-0000-0000-000000000000' end
    into v_from, v_after
    from booking.slots s where s.id = p_after;
    if not found then
      perform booking.refuse(404, 'slot_not_found', jsonb_build_object('slot_id', p_after), 'Start again from the first page.');
    end if;
  end if;

  -- Two texts, so that each has the plan of its own index. An open seat counter tells what is to know of its slot; a slot of
  -- several counters is asked once, through the first of them that is open, for what all of them come to.
  if p_expert_id is null then
    return query
      select o.slot_id, o.expert_id, o.session_id, o.title, o.amount, o.currency::text, o.starts_at, o.ends_at,
        case when o.parts = 1 then o.capacity else (select s.capacity from booking.slots s where s.id = o.slot_id) end,
        case when o.parts = 1 then o.capacity - o.taken
          else (select sum(a.capacity - a.taken)::int from booking.slot_seats a where a.slot_id = o.slot_id) end,
        o.confirmation
      from (
        select distinct on (o.starts_at, o.slot_id) o.* from booking.slot_seats o
        where o.is_open and (o.starts_at, o.slot_id) > (v_from, v_after) and o.starts_at < p_to
        order by o.starts_at, o.slot_id limit p_limit
      ) o
      order by o.starts_at, o.slot_id;
  else
    return query
      select o.slot_id, o.expert_id, o.session_id, o.title, o.amount, o.currency::text, o.starts_at, o.ends_at,
        case when o.parts = 1 then o.capacity else (select s.capacity from booking.slots s where s.id = o.slot_id) end,
        case when o.parts = 1 then o.capacity - o.taken
          else (select sum(a.capacity - a.taken)::int from booking.slot_seats a where a.slot_id = o.slot_id) end,
        o.confirmation
      from (
        select distinct on (o.starts_at, o.slot_id) o.* from booking.slot_seats o
        where o.is_open and o.expert_id = p_expert_id and (o.starts_at, o.slot_id) > (v_from, v_after) and o.starts_at < p_to
        order by o.starts_at, o.slot_id limit p_limit
      ) o
      order by o.starts_at, o.slot_id;
  end if;
end
$$;

revoke all on function booking.list_open_slots(timestamptz, timestamptz, text, uuid, int) from public;
grant execute on function booking.list_open_slots(timestamptz, timestamptz, text, uuid, int) to booking_app;
comment on function booking.list_open_slots(timestamptz, timestamptz, text, uuid, int) is
  'Future slots with a seat left, in order of their start, a page at a time (p_after: last slot of the page before)';
