-- Refuses a booking and says why. p_reason is what the caller ran into: full (a student who is turned away and holds a seat
-- there already is told so), duplicate, started, or absent: the slot or session is not there, or they do not belong together.
-- It looks up what create_booking_transaction has no need to know when all goes well.
-- Internal: granted to nobody. Locks: none.
-- Errors: always one of PT400 invalid_request (DETAIL.field), session_mismatch ·
--   PT404 slot_not_found, session_not_found · PT409 slot_unavailable (DETAIL.reason full | started),
--   duplicate_booking (DETAIL.booking_id).
create or replace function booking.refuse_booking(p_student_id text, p_slot_id uuid, p_session_id uuid, p_reason text)
returns void
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_found record;
  v_booking_id uuid;
begin
  if p_reason in ('full', 'duplicate') then
    select b.id into v_booking_id from booking.bookings b
    where b.slot_id = p_slot_id and b.student_id = p_student_id and b.status in ('pending', 'confirmed');
    if found or p_reason = 'duplicate' then
      perform booking.refuse(409, 'duplicate_booking', jsonb_build_object('booking_id', v_booking_id, 'slot_id', p_slot_id),
        'You already hold a seat in this slot.');
    end if;
    perform booking.refuse(409, 'slot_unavailable', jsonb_build_object('slot_id', p_slot_id, 'reason', 'full'),
      'Choose another slot.');
  end if;

  select s.expert_id, s.session_id, x.id as sold_id, x.expert_id as sold_by into v_found
  from booking.slots s left join booking.sessions x on x.id = coalesce(p_session_id, s.session_id)
  where s.id = p_slot_id;
  if not found then
    perform booking.refuse(404, 'slot_not_found', jsonb_build_object('slot_id', p_slot_id), 'List the open slots again.');
  end if;
  if v_found.sold_id is null then
    if p_session_id is null then
      perform booking.refuse(400, 'invalid_request', '{"field": "session_id"}', 'This slot is open to several sessions: name one.');
    end if;
    perform booking.refuse(404, 'session_not_found', jsonb_build_object('session_id', p_session_id), 'Choose one of the expert''s sessions.');
  end if;
  if v_found.sold_by <> v_found.expert_id or v_found.sold_id <> v_found.session_id then
    perform booking.refuse(400, 'session_mismatch', jsonb_build_object('session_id', p_session_id, 'slot_id', p_slot_id),
      'The slot is for another session.');
  end if;
  perform booking.refuse(409, 'slot_unavailable', jsonb_build_object('slot_id', p_slot_id, 'reason', 'started'),
    'Choose a slot in the future.');
end
$$;

revoke all on function booking.refuse_booking(text, uuid, uuid, text) from public;
comment on function booking.refuse_booking(text, uuid, uuid, text) is 'Internal: refuses a booking and says why';
