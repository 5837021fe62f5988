-- booking.require_batch_size(): 1 to 10,000 rows.
select * from no_plan();
select lives_ok(format('select booking.require_batch_size(%s)', n), n || ' rows') from unnest(array[1, 100, 10000]) n;
select test.refused(format('select booking.require_batch_size(%s)', n), 'PT400', 'invalid_request', '{"field": "batch_size"}', n || ' rows')
from unnest(array['null', '0', '-1', '10001']) n;
select * from finish();
