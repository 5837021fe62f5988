set local role booking_owner;

create table booking.audit_log (
  id bigint generated always as identity primary key,
  created_at timestamptz not null,
  actor text not null,
  action text not null,
  subject text not null,
  payment_id uuid,
  request_id text,
  detail jsonb not null default '{}'
);
comment on table booking.audit_log is
  'Append-only: who did what with money or as an administrator, when, under which request. Decisions on bookings are in booking_events';
comment on column booking.audit_log.actor is 'A person''s id, stripe, system, or the database login where nobody else is known';
comment on column booking.audit_log.action is 'thing.verb; for payments, refunds and disputes thing.status, the status that was reached';
comment on column booking.audit_log.payment_id is 'The payment it belongs to, where subject is something else';
comment on column booking.audit_log.request_id is 'The HTTP request, the Stripe event, or what the caller set as booking.request_id';
-- brin: rows come in the order of time, and each row is written on a payment's path
create index audit_log_by_time on booking.audit_log using brin (created_at) with (pages_per_range = 16);
create index audit_log_by_subject on booking.audit_log (subject);
create index audit_log_by_payment on booking.audit_log (payment_id) where payment_id is not null;

-- Defaults, not arguments: whoever writes the row, it carries the request.
alter table booking.booking_events add column request_id text default nullif(current_setting('booking.request_id', true), '');
alter table booking.stripe_commands add column request_id text default nullif(current_setting('booking.request_id', true), '');
comment on column booking.stripe_commands.request_id is 'The request that wished for it';
create index booking_events_by_time on booking.booking_events using brin (created_at) with (pages_per_range = 16);

reset role;
