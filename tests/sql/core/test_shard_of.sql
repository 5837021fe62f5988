-- booking.shard_of(): reads the 12 bits that new_id() writes.
select plan(6);
select is(booking.shard_of('00000000-0000-7000-8000-000000000000'), 0, 'the lowest shard');
select is(booking.shard_of('ffffffff-ffff-7fff-bfff-ffffffffffff'), 4095, 'the highest shard');
select is(booking.shard_of('019cd7c6-be7b-7a5c-8123-456789abcdef'), 2652, 'the three nibbles after the version');
select is_empty($$
  select n from generate_series(1, 500) n
  where booking.shard_of(booking.new_id(p_expert_id => 'e' || n))
    <> ('x' || left(encode(sha256(convert_to('e' || n, 'UTF8')), 'hex'), 3))::bit(12)::int $$,
  'it is the first 12 bits of the sha256 of the expert''s id');
select is(booking.shard_of(null), null, 'no id, no shard');
-- everything that hangs on a booking lives where its expert lives
create temp table b as select test.captured_booking('30 hours') as id;
do $$ begin perform booking.cancel_booking_transaction(test.student((select id from b)), (select id from b)); end $$;
select set_eq(
  $$ select booking.shard_of(x.id) from b, lateral (
       select b.id union all select k.slot_id from booking.bookings k union all select k.session_id from booking.bookings k
       union all select p.id from booking.payments p union all select c.id from booking.stripe_commands c) x (id) $$,
  $$ select ('x' || left(encode(sha256(convert_to(test.expert(b.id), 'UTF8')), 'hex'), 3))::bit(12)::int from b $$,
  'session, slot, booking, payment and commands inherit the expert''s shard');
select * from finish();
