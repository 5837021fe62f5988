-- Trigger: a refund request moves only along an edge of its transition table, its facts never change, updated_at is kept.
--   pending -> approved | rejected;  approved -> refunded | pending;  refunded -> pending (its refund failed)
-- Locks: none beyond the row. Errors: PT409 illegal_transition, append_only (a fact of the request was changed).
create or replace function booking.keep_refund_request()
returns trigger
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  if new.status <> old.status
    and not (old.status = 'pending' and new.status in ('approved', 'rejected'))
    and not (old.status = 'approved' and new.status in ('refunded', 'pending'))
    and not (old.status = 'refunded' and new.status = 'pending')
  then
    perform booking.refuse(409, 'illegal_transition',
      jsonb_build_object('request_id', old.id, 'from', old.status, 'to', new.status),
      'Refund requests move only along the edges of their transition table.');
  end if;
  if (new.id, new.booking_id, new.payment_id, new.student_id, new.amount, new.currency)
    is distinct from (old.id, old.booking_id, old.payment_id, old.student_id, old.amount, old.currency)
  then
    perform booking.refuse(409, 'append_only', jsonb_build_object('table', 'refund_requests', 'request_id', old.id),
      'Who asked for how much of which payment is fixed at creation.');
  end if;
  new.updated_at := booking.clock();
  return new;
end
$$;

revoke all on function booking.keep_refund_request() from public;
comment on function booking.keep_refund_request() is 'Trigger: refund requests move only along the edges of their transition table';

create or replace trigger keep_refund_request before update on booking.refund_requests
  for each row execute function booking.keep_refund_request();
