-- booking.refuse(): the one form of a refusal.
select * from no_plan();
select throws_ok(format('select booking.refuse(%s, %L, %L, %L)', status, code, '{}', 'h'), 'PT' || status, code,
  format('status %s becomes SQLSTATE PT%s', status, status))
from (values (400, 'invalid_request'), (402, 'payment_not_succeeded'), (403, 'not_your_booking'), (404, 'slot_not_found'),
  (409, 'slot_unavailable'), (500, 'booking_confirm_failed')) v (status, code);
create function pg_temp.caught(p_sql text) returns jsonb language plpgsql as $$
declare
  v_detail text;
  v_hint text;
begin
  execute p_sql;
  return null;
exception when others then
  get stacked diagnostics v_detail = pg_exception_detail, v_hint = pg_exception_hint;
  return jsonb_build_object('detail', v_detail::jsonb, 'hint', v_hint);
end
$$;
select is(pg_temp.caught($$ select booking.refuse(409, 'x', '{"a": 1}', 'Try again.') $$), '{"detail": {"a": 1}, "hint": "Try again."}',
  'DETAIL is the JSON object, HINT the sentence');
select is(pg_temp.caught($$ select booking.refuse(409, 'x', null, 'h') $$) -> 'detail', '{}'::jsonb, 'without details DETAIL is an empty object');
select * from finish();
