-- What Stripe has still to be told: the commands of the outbox that are not done, oldest first. pending: waits until run_at;
-- running: in somebody's hands until lease_until; dead: given up, a person must look. last_error is what Stripe, or the
-- connection, said last. Locks: none. Errors: PT400 invalid_request (DETAIL.field limit).
create or replace function booking.list_open_commands(p_limit int default 100)
returns table (
  command_id uuid,
  status booking.command_status,
  operation text,
  stripe_id text,
  payment_id uuid,
  order_id uuid,
  attempts int,
  run_at timestamptz,
  lease_until timestamptz,
  last_error jsonb,
  created_at timestamptz
)
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
begin
  if p_limit is null or p_limit not between 1 and 10000 then
    perform booking.refuse(400, 'invalid_request', '{"field": "limit"}', 'Ask for 1 to 10,000 commands at once.');
  end if;
  return query
    select c.id, c.status, c.operation, c.stripe_id, c.payment_id, c.order_id, c.attempts, c.run_at, c.lease_until, c.last_error,
      c.created_at
    from booking.stripe_commands c
    where c.status in ('pending', 'running') or c.status = 'dead'
    order by c.created_at, c.id
    limit p_limit;
end
$$;

revoke all on function booking.list_open_commands(int) from public;
grant execute on function booking.list_open_commands(int) to booking_dba;
comment on function booking.list_open_commands(int) is 'The commands of the outbox that are not done, oldest first';
