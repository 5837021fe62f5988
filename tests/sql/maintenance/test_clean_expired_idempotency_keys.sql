-- booking.clean_expired_idempotency_keys(): keys past their life go.
select plan(6);
select test.set_clock('2026-03-10 12:00Z');
do $$ begin perform booking.create_booking_transaction('anna', test.make_slot(), p_idempotency_key => 'key-1'); end $$;
select test.set_clock('2026-03-11 11:59:59.999999Z');
select is(booking.clean_expired_idempotency_keys(), 0, 'a microsecond before its 24 hours a key stays');
select test.set_clock('2026-03-11 12:00Z');
do $$ begin perform booking.create_booking_transaction('anna', test.make_slot(), p_idempotency_key => 'key-2'); end $$;
select is(booking.clean_expired_idempotency_keys(), 1, 'at 24 hours it goes');
select results_eq('select idempotency_key from booking.client_idempotency', array['key-2'], 'a younger one stays');
select is((select count(*) from booking.bookings), 2::bigint, 'bookings stay');
insert into booking.client_idempotency (scope, user_id, idempotency_key, request_hash, result_id, expires_at)
select 'booking', 'bulk', n::text, '\x', gen_random_uuid(), '2026-03-01' from generate_series(1, 10001) n;
select is(booking.clean_expired_idempotency_keys(), 10000, 'at most 10,000 a call');
select is(booking.clean_expired_idempotency_keys(), 1, 'then the rest');
select * from finish();
