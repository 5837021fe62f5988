-- booking.require_refund_request_page(): a status that there is, and 1 to 200 rows.
select * from no_plan();
select is(booking.require_refund_request_page(s::text, 1), s, 'the status itself: ' || s) from unnest(enum_range(null::booking.refund_request_status)) s;
select is(booking.require_refund_request_page(null, 200), null, 'none: all of them');
select test.refused(format('select booking.require_refund_request_page(%L, %L)', status, n), 'PT400', 'invalid_request', jsonb_build_object('field', field),
  format('status %s, %s rows', status, n))
from (values ('lost', '1', 'status'), ('', '1', 'status'), (null, null, 'limit'), ('pending', '0', 'limit'), ('pending', '201', 'limit')) v (status, n, field);
select * from finish();
