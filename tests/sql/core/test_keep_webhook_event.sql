-- booking.keep_webhook_event(): an event has an id of 1 to 255 characters, whoever writes the row.
select * from no_plan();

create temp table ids (id text, is_legal boolean);
insert into ids values ('e', true), (repeat('é', 255), true), ('', false), (repeat('x', 256), false);

insert into booking.webhook_events (stripe_event_id, event_type, status, payload) values ('evt_1', 'a.type', 'processed', '{}');
select is(test.written(format(v.statement, i.id)), case when i.is_legal then 'done' else '23514 webhook_events' end,
  format('%s: %s characters', v.what, length(i.id)))
from ids i, (values
  ('made', 'insert into booking.webhook_events (stripe_event_id, event_type, status, payload) values (%L, ''a.type'', ''processed'', ''{}'')'),
  ('changed', 'update booking.webhook_events set stripe_event_id = %L where stripe_event_id = ''evt_1''')) v (what, statement);
select throws_ok($$insert into booking.webhook_events (stripe_event_id, event_type, status, payload) values ('', 'a.type', 'processed', '{}')$$,
  '23514', 'new row for relation "webhook_events" violates check constraint "webhook_events_stripe_event_id_check"',
  'it says so as a check constraint would');

select * from finish();
