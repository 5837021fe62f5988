-- booking.begin_checkout(): begins the purchase of one product under an idempotency key and a lock.
select no_plan();
select test.set_clock('2026-03-10 12:00Z');
do $$ begin perform booking.create_product('course', 'A course', 1900, 'eur'), booking.create_product('book', 'A book', 900, 'eur'); end $$;
create function pg_temp.begin(p_key text, p_request text, p_product text default 'course', p_user text default 'anna')
returns table (order_id uuid, amount bigint, currency text, stripe_idempotency_key text, stripe_session_id text, checkout_url text, was_created boolean)
language sql as $$ select * from booking.begin_checkout(p_user, p_product, p_key, p_request) $$;
create function pg_temp.in_progress(p_key text, p_request text, p_product text, p_user text, p_description text) returns text language sql as $$
  select test.refused(format('select * from booking.begin_checkout(%L, %L, %L, %L)', p_user, p_product, p_key, p_request), 'PT409', 'payment_in_progress',
    jsonb_build_object('idempotency_key', p_key, 'retry_after', 5), p_description) $$;

-- -- bad input
grant usage on schema test to booking_app;
set local role booking_app;
select test.refused(format('select * from booking.begin_checkout(%L, %L, %L, %L)', u, p, k, r), 'PT400', 'invalid_request', jsonb_build_object('field', field), what)
from (values ('user_id', null, 'course', 'k', 'r', 'no user'), ('user_id', repeat('x', 256), 'course', 'k', 'r', 'a user''s id that is too long'),
  ('product_id', 'anna', null, 'k', 'r', 'no product'), ('product_id', 'anna', '', 'k', 'r', 'an empty product'),
  ('idempotency_key', 'anna', 'course', null, 'r', 'no key'), ('idempotency_key', 'anna', 'course', '', 'r', 'an empty key'),
  ('idempotency_key', 'anna', 'course', repeat('k', 256), 'r', 'a key that is too long'), ('request_id', 'anna', 'course', 'k', null, 'no request id')) v (field, u, p, k, r, what);
select test.refused($$ select * from booking.begin_checkout('anna', 'nothing', 'k', 'r') $$, 'PT404', 'product_not_found', '{"product_id": "nothing"}', 'no such product');

-- -- a new key
create temp table first as select * from booking.begin_checkout('anna', 'course', 'k1', 'req-1');
reset role;
select results_eq('select amount, currency, stripe_idempotency_key, stripe_session_id, checkout_url, was_created from first',
  $$ select 1900::bigint, 'eur', order_id::text, null::text, null::text, true from first $$, 'the price is the product''s, Stripe''s key is the order''s id');
select results_eq($$ select o.product_id, o.user_id, o.amount, o.currency::text, o.status::text, o.created_at from booking.orders o join first f on f.order_id = o.id $$,
  $$ values ('course', 'anna', 1900::bigint, 'eur', 'pending', '2026-03-10 12:00Z'::timestamptz) $$, 'the order waits for its session');
select results_eq('select lock_key, request_id, expires_at from booking.concurrency_locks',
  $$ values ('lock:user:anna:product:course', 'req-1', '2026-03-10 12:00:10Z'::timestamptz) $$, 'user and product are locked for 10 s');
select results_eq($$ select idempotency_key, result_id, expires_at from booking.client_idempotency where scope = 'checkout' and user_id = 'anna' $$,
  $$ select 'k1', order_id, '2026-03-11 12:00Z'::timestamptz from first $$, 'the key lives for 24 h');
select results_eq($$ select a.action, a.actor, a.request_id from booking.audit_log a join first f on a.subject = f.order_id::text $$, $$ values ('order.pending', 'anna', 'req-1') $$,
  'the audit log has who and under which request');

-- -- while it is under way
select pg_temp.in_progress('k1', 'req-2', 'course', 'anna', 'the same key while its request works');
select pg_temp.in_progress('k2', 'req-2', 'course', 'anna', 'another key for the same user and product');
select pg_temp.in_progress('k1', 'req-1', 'course', 'anna', 'the same request id: it may be in use twice');
select is((select was_created from pg_temp.begin('k1', 'req-3', 'course', 'berta')), true, 'keys and locks are per user');
select is((select was_created from pg_temp.begin('kb', 'req-3', 'book')), true, 'another product is another purchase');
select test.refused($$ select * from booking.begin_checkout('anna', 'book', 'k1', 'req-4') $$, 'PT409', 'idempotency_key_reused', '{"idempotency_key": "k1"}',
  'the key with another product');
select test.refused($$ select * from booking.begin_checkout('anna', 'nothing', 'k1', 'req-4') $$, 'PT409', 'idempotency_key_reused', '{"idempotency_key": "k1"}',
  'the key with a product that does not exist');
select test.refused($$ select * from booking.begin_checkout('anna', 'nothing', 'k9', 'req-4') $$, 'PT404', 'product_not_found', '{"product_id": "nothing"}', 'a new key with it');
select is((select count(*) from booking.orders where user_id = 'anna' and product_id = 'course'), 1::bigint, 'no refusal leaves an order');
select is_empty($$ select from booking.client_idempotency where idempotency_key in ('k', 'k9') union all select from booking.concurrency_locks where product_id = 'nothing' $$,
  'nor a key or a lock');

-- -- after it was finished
do $$ begin perform test.finish_order(order_id, 'req-1') from first; end $$;
select results_eq($$ select order_id, amount, currency, stripe_idempotency_key, stripe_session_id, checkout_url, was_created from pg_temp.begin('k1', 'req-5') $$,
  $$ select order_id, amount, currency, stripe_idempotency_key, test.session_id(order_id), 'https://checkout.test/' || test.session_id(order_id), false from first $$,
  'the key answers with the same order and session');
select is(booking.has_active_lock('lock:user:anna:product:course'), false, 'which needs no lock');
select test.refused($$ select * from booking.begin_checkout('anna', 'book', 'k1', 'req-4') $$, 'PT409', 'idempotency_key_reused', '{}', 'another product is refused afterwards, too');

-- -- another key: a newer order, the older one's session is ended
select test.set_clock('2026-03-10 12:01Z');
create temp table second as select * from pg_temp.begin('k2', 'req-6');
select isnt(s.order_id, f.order_id, 'another key is another order') from first f, second s;
select is((test.order_row(f.order_id)).superseded_by, s.order_id, 'which supersedes the unpaid one') from first f, second s;
select is(test.order_commands(order_id), '{expire_checkout_session pending}', 'Stripe shall end its session') from first;
select results_eq('select stripe_id, params from booking.stripe_commands', $$ select test.session_id(order_id), '{}'::jsonb from first $$, 'by its id');
select is((select stripe_session_id from pg_temp.begin('k1', 'req-7')), test.session_id(order_id), 'its own key still answers with it') from first;

-- -- a request that died
select test.set_clock('2026-03-10 12:01:09.999Z');
select pg_temp.in_progress('k2', 'req-7', 'course', 'anna', 'until the lock lapses');
select test.set_clock('2026-03-10 12:01:10Z');
select results_eq($$ select order_id, stripe_idempotency_key, stripe_session_id, was_created from pg_temp.begin('k2', 'req-7') $$,
  $$ select order_id, order_id::text, null::text, false from second $$, 'after 10 s the same order goes on, with the same key for Stripe');
select pg_temp.in_progress('k2', 'req-8', 'course', 'anna', 'and is locked again');
do $$ begin perform booking.abort_checkout(order_id, 'req-7', 'api_connection_error') from second; end $$;
select is((select order_id from pg_temp.begin('k2', 'req-8')), order_id, 'after an outcome that nobody knows it goes on at once') from second;
do $$ begin perform booking.abort_checkout(order_id, 'req-8', 'refused: amount_too_small') from second; end $$;
create temp table third as select * from pg_temp.begin('k2', 'req-9');
select ok(t.was_created and t.order_id <> s.order_id, 'after Stripe refused it for good, the key is used anew') from second s, third t;
select is((test.order_row(order_id)).superseded_by, null, 'a failed order needs no successor') from second;

-- -- superseded before it had a session
select test.set_clock('2026-03-10 12:02Z');
create temp table fourth as select * from pg_temp.begin('k4', 'req-10');
select results_eq('select (test.order_row(t.order_id)).status::text, (test.order_row(t.order_id)).superseded_by from third t',
  $$ select 'expired', order_id from fourth $$, 'nobody was told where to pay for it: it has expired');
select is(test.order_commands(order_id), '{}', 'there is nothing to end at Stripe') from third;
select test.set_clock('2026-03-10 12:03Z');
create temp table fifth as select * from pg_temp.begin('k2', 'req-11');
select ok(f.was_created and f.order_id <> t.order_id, 'its key begins anew, as the newest') from third t, fifth f;
select is((test.order_row(f.order_id)).superseded_by, n.order_id, 'and supersedes the one that is under way') from fourth f, fifth n;

-- -- the lifetimes are settings
update booking.settings set checkout_lock_ttl = '3 seconds', idempotency_ttl = '1 minute';
create temp table dora as select * from pg_temp.begin('kd', 'r', 'course', 'dora');
select test.set_clock('2026-03-10 12:03:02.999Z');
select pg_temp.in_progress('kd', 'r2', 'course', 'dora', 'a lock of 3 s');
select test.set_clock('2026-03-10 12:03:03Z');
select is((select order_id from pg_temp.begin('kd', 'r2', 'course', 'dora')), order_id, 'has lapsed') from dora;
do $$ begin perform test.finish_order(order_id, 'r2') from dora; end $$;
select test.set_clock('2026-03-10 12:03:59.999Z');
select is((select order_id from pg_temp.begin('kd', 'r3', 'course', 'dora')), order_id, 'a key of a minute') from dora;
select test.set_clock('2026-03-10 12:04Z');
create temp table anew as select * from pg_temp.begin('kd', 'r4', 'course', 'dora');
select ok(n.was_created and n.order_id <> d.order_id, 'has lapsed: a new order') from dora d, anew n;
do $$ begin perform test.finish_order(order_id, 'r4') from anew; end $$;
select is((select order_id from pg_temp.begin('kd', 'r5', 'course', 'dora')), order_id, 'which the key names from now on') from anew;
select is(booking.shard_of(order_id), booking.shard_of(booking.new_id('dora')), 'an order lives in its buyer''s shard') from dora;
select is_empty('select * from booking.check_invariants()', 'the books are in order');
select * from finish();
