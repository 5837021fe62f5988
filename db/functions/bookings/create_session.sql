-- Puts an expert's offer on sale: a title and a price in minor units.
-- The currency is kept in lower case, as Stripe writes it; the amount must be a multiple of booking.currency_step().
-- Locks: the expert's row, when it is new.
-- Errors: PT400 invalid_request (DETAIL.field: expert_id, title, amount, currency).
create or replace function booking.create_session(p_expert_id text, p_title text, p_amount bigint, p_currency text)
returns uuid
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set jit = off
as $$
declare
  v_id uuid;
  v_now timestamptz := booking.clock();
begin
  perform booking.require_person('expert_id', p_expert_id);
  if p_title is null or length(btrim(p_title)) not between 1 and 200 then
    perform booking.refuse(400, 'invalid_request', '{"field": "title"}', 'A title has 1 to 200 characters.');
  end if;
  perform booking.require_price(p_amount, p_currency);

  insert into booking.experts (expert_id) values (p_expert_id) on conflict (expert_id) do nothing;
  insert into booking.sessions (id, expert_id, title, amount, currency, created_at, updated_at)
  values (booking.new_id(p_expert_id => p_expert_id), p_expert_id, btrim(p_title), p_amount, lower(p_currency), v_now, v_now)
  returning id into v_id;
  return v_id;
end
$$;

revoke all on function booking.create_session(text, text, bigint, text) from public;
grant execute on function booking.create_session(text, text, bigint, text) to booking_app;
comment on function booking.create_session(text, text, bigint, text) is
  'Puts an expert''s offer on sale at a price in minor units; returns the session''s id';
