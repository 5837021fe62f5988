-- The key of the lock under which one user buys one product. Internal: granted to nobody. Locks: none. Errors: none.
create or replace function booking.checkout_lock_key(p_user_id text, p_product_id text)
returns text
language sql immutable strict parallel safe security definer
set search_path = pg_catalog, pg_temp
as $$ select 'lock:user:' || p_user_id || ':product:' || p_product_id $$;

revoke all on function booking.checkout_lock_key(text, text) from public;
comment on function booking.checkout_lock_key(text, text) is 'Internal: the key of the lock under which one user buys one product';
