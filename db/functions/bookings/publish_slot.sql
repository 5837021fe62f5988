-- Offers an expert's time: one seat, or a class of up to 1,000,000 seats, for one session or (null) for any of the
-- expert's. Confirmation 'expert': the expert decides and the payment is captured then; 'instant': captured at once.
-- Seats are spread over one counter row per 16, at most 32 (booking.slot_seats).
-- Locks: the session, shared -> the expert. Errors: PT400 invalid_request (DETAIL.field), session_mismatch · PT404 session_not_found · PT409 slot_overlap.
create or replace function booking.publish_slot(
  p_expert_id text,
  p_session_id uuid,
  p_starts_at timestamptz,
  p_ends_at timestamptz,
  p_capacity int default 1,
  p_confirmation text default 'expert'
)
returns uuid
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set jit = off
as $$
declare
  v_id uuid;
  v_expert_no int;
  v_session_expert text;
  v_title text;
  v_amount bigint;
  v_currency text;
  v_other uuid;
  v_parts int;
  v_now timestamptz;
begin
  perform booking.require_person('expert_id', p_expert_id);
  if p_starts_at is null or not isfinite(p_starts_at) then
    perform booking.refuse(400, 'invalid_request', '{"field": "starts_at"}', 'Give the time the slot starts at.');
  end if;
  if p_ends_at is null or not isfinite(p_ends_at) or p_ends_at < p_starts_at + interval '1 second' then
    perform booking.refuse(400, 'invalid_request', '{"field": "ends_at"}', 'A slot ends at least a second after it starts.');
  end if;
  if p_capacity is null or p_capacity not between 1 and 1000000 then
    perform booking.refuse(400, 'invalid_request', '{"field": "capacity"}', 'A slot has 1 to 1,000,000 seats.');
  end if;
  if p_confirmation is null or p_confirmation not in ('expert', 'instant') then
    perform booking.refuse(400, 'invalid_request', '{"field": "confirmation"}', 'Confirmation is expert or instant.');
  end if;
  if p_session_id is not null then
    select x.expert_id, x.title, x.amount, x.currency into v_session_expert, v_title, v_amount, v_currency
    from booking.sessions x where x.id = p_session_id for share; -- a price or title that is being changed would miss this slot
    if not found then
      perform booking.refuse(404, 'session_not_found', jsonb_build_object('session_id', p_session_id), 'Create the session first.');
    elsif v_session_expert <> p_expert_id then
      perform booking.refuse(400, 'session_mismatch', jsonb_build_object('session_id', p_session_id),
        'The session belongs to another expert.');
    end if;
  end if;

  insert into booking.experts (expert_id) values (p_expert_id) on conflict (expert_id) do nothing;
  select e.expert_no into v_expert_no from booking.experts e where e.expert_id = p_expert_id for no key update;

  -- the exclusion constraint is the backstop; this names the slot in the way
  select s.id into v_other from booking.slots s
  where box(point(s.expert_no, extract(epoch from s.starts_at at time zone 'UTC')::float8),
            point(s.expert_no, extract(epoch from s.ends_at at time zone 'UTC')::float8 - 0.001))
        && box(point(v_expert_no, extract(epoch from p_starts_at at time zone 'UTC')::float8),
               point(v_expert_no, extract(epoch from p_ends_at at time zone 'UTC')::float8 - 0.001))
  limit 1;
  if found then
    perform booking.refuse(409, 'slot_overlap', jsonb_build_object('slot_id', v_other),
      'The expert already offers that time.');
  end if;

  v_now := booking.clock();
  v_id := booking.new_id(p_expert_id => p_expert_id);
  v_parts := least(32, (p_capacity + 15) / 16);
  insert into booking.slots (id, expert_id, expert_no, session_id, starts_at, ends_at, capacity, parts, confirmation, created_at, updated_at)
  values (v_id, p_expert_id, v_expert_no, p_session_id, p_starts_at, p_ends_at, p_capacity, v_parts,
          p_confirmation::booking.confirmation_mode, v_now, v_now);
  insert into booking.slot_seats (slot_id, part, capacity, expert_id, starts_at, ends_at, session_id, title, amount, currency,
    confirmation, parts)
  select v_id, part, p_capacity / v_parts + (part < p_capacity % v_parts)::int, p_expert_id, p_starts_at, p_ends_at,
    p_session_id, v_title, v_amount, v_currency, p_confirmation::booking.confirmation_mode, v_parts
  from generate_series(0, v_parts - 1) part;
  insert into booking.stat_deltas (metric, at, quantity, amount)
  values ('slots', p_starts_at, p_capacity, (v_parts = 1)::int);
  return v_id;
end
$$;

revoke all on function booking.publish_slot(text, uuid, timestamptz, timestamptz, int, text) from public;
grant execute on function booking.publish_slot(text, uuid, timestamptz, timestamptz, int, text) to booking_app;
comment on function booking.publish_slot(text, uuid, timestamptz, timestamptz, int, text) is
  'Offers an expert''s time with a number of seats; returns the slot''s id';
