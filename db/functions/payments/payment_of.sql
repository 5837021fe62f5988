-- Which payment an object of Stripe belongs to: by its PaymentIntent's id, else by metadata.payment_id, else as the caller
-- says (p_payment_id, p_intent_id). kind is what the object is: by the event's type, else by its own word.
-- Internal: granted to nobody. Locks: none. Errors: none.
create or replace function booking.payment_of(
  p_object jsonb,
  p_type text,
  p_payment_id uuid default null,
  p_intent_id text default null,
  out kind text,
  out intent_id text,
  out payment_id uuid
)
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  kind := case
    when p_type like 'payment\_intent.%' then 'payment_intent'
    when p_type like 'charge.dispute.%' then 'dispute'
    when p_type like 'refund.%' then 'refund'
    when p_type like 'charge.%' then 'charge'
    else p_object ->> 'object'
  end;
  intent_id := coalesce(
    case
      when kind = 'payment_intent' then p_object ->> 'id'
      when jsonb_typeof(p_object -> 'payment_intent') = 'object' then p_object -> 'payment_intent' ->> 'id'
      else p_object ->> 'payment_intent'
    end, p_intent_id);
  select p.id into payment_id from booking.payments p where p.stripe_payment_intent_id = intent_id;
  if not found then
    payment_id := coalesce(
      (select p.id from booking.payments p
       -- other systems at the same Stripe account have metadata of their own
       where p.id = case when p_object -> 'metadata' ->> 'payment_id' ~* '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$'
                         then (p_object -> 'metadata' ->> 'payment_id')::uuid end),
      p_payment_id);
  end if;
end
$$;

revoke all on function booking.payment_of(jsonb, text, uuid, text) from public;
comment on function booking.payment_of(jsonb, text, uuid, text) is 'Internal: which payment an object of Stripe belongs to';
