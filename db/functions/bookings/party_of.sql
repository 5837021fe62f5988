-- Which side of a booking a person is: 'student' or 'expert'. A null row means that there is no such booking.
-- Internal: granted to nobody. Locks: none. Errors: PT403 not_your_booking · PT404 booking_not_found.
create or replace function booking.party_of(p_booking booking.bookings, p_booking_id uuid, p_person_id text)
returns text
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  if p_booking.id is null then
    perform booking.refuse(404, 'booking_not_found', jsonb_build_object('booking_id', p_booking_id), 'Check the booking''s id.');
  end if;
  if p_booking.student_id = p_person_id then
    return 'student';
  elsif p_booking.expert_id = p_person_id then
    return 'expert';
  end if;
  perform booking.refuse(403, 'not_your_booking', jsonb_build_object('booking_id', p_booking_id),
    'Only the student and the expert of a booking see and cancel it.');
  return null;
end
$$;

revoke all on function booking.party_of(booking.bookings, uuid, text) from public;
comment on function booking.party_of(booking.bookings, uuid, text) is 'Internal: which side of a booking a person is, or a refusal';
