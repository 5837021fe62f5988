-- booking.new_id(): uuid version 7 with the expert's virtual shard in rand_a.
select * from no_plan();
create temp table ids as select booking.new_id(p_expert_id => 'expert-' || n) as id, 'expert-' || n as expert from generate_series(1, 500) n;

select is((select count(distinct id) from ids), 500::bigint, 'every id is another one');
select is_empty($$ select id from ids where substr(id::text, 15, 1) <> '7' $$, 'the version nibble is 7');
select is_empty($$ select id from ids where substr(id::text, 20, 1) !~ '[89ab]' $$, 'the variant bits are 10');
select is((select count(distinct substr(id::text, 20, 1)) from ids), 4::bigint, 'the two bits after the variant are random');
select is_empty($$
  select expert from ids
  where substr(id::text, 16, 3) <> left(encode(sha256(convert_to(expert, 'UTF8')), 'hex'), 3) $$,
  'rand_a is the first 12 bits of the sha256 of the expert''s id');
-- printf %s <id> | sha256sum
select is(substr(booking.new_id(p_expert_id => 'expert-1')::text, 16, 3), 'de5', 'the shard of expert-1, computed elsewhere');
select is(substr(booking.new_id(p_expert_id => 'Zoë|日本')::text, 16, 3), '042', 'the bytes hashed are UTF-8');
select is(substr(booking.new_id(p_expert_id => '')::text, 16, 3), 'e3b', 'an empty id has a shard too');
select is(booking.new_id(p_expert_id => null), null, 'no expert, no id');

create temp table near as select i.id as seed, booking.new_id(p_near => i.id) as id from ids i;
select is_empty($$ select seed from near where booking.shard_of(seed) <> booking.shard_of(id) $$, 'an id near another lives in the same shard');
select is_empty($$ select id from near where substr(id::text, 15, 1) <> '7' or substr(id::text, 20, 1) !~ '[89ab]' $$,
  'and has the version and the variant');
select is_empty($$ select seed from near where substr(seed::text, 20) = substr(id::text, 20) $$, 'and random bits of its own');
select is(booking.new_id(p_near => null), null, 'near nothing, no id');

-- time
select test.set_clock('2026-03-10 12:00:00.123999Z');
create temp table first as select booking.new_id(p_expert_id => 'b') as id, booking.new_id(p_near => gen_random_uuid()) as near;
select is(('x' || lpad(replace(left(id::text, 13), '-', ''), 16, '0'))::bit(64)::bigint, 1773144000123,
  'the first 48 bits are whole milliseconds since 1970, rounded down') from first;
select is(('x' || lpad(replace(left(near::text, 13), '-', ''), 16, '0'))::bit(64)::bigint, 1773144000123,
  'also for an id near another') from first;
select test.set_clock('2026-03-10 12:00:00.124000Z');
select cmp_ok(booking.new_id(p_expert_id => 'a'), '>', (select id from first), 'an id of the next millisecond sorts after it, whatever the shard');
select cmp_ok(booking.new_id(p_near => (select id from first)), '>', (select near from first), 'also near another');
select * from finish();
