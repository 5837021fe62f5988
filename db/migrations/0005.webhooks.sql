set local role booking_owner;

create type booking.webhook_status as enum ('processed', 'ignored', 'failed');

create table booking.webhook_events (
  stripe_event_id text primary key check (length(stripe_event_id) between 1 and 255),
  event_type text not null,
  status booking.webhook_status not null,
  payload jsonb not null,
  attempts int not null default 1,
  error jsonb,
  received_at timestamptz not null default clock_timestamp(),
  updated_at timestamptz not null default clock_timestamp()
);
comment on table booking.webhook_events is 'Every Stripe event that came in, with its effect in the same commit';
create index webhook_events_by_time on booking.webhook_events (received_at);
create index webhook_events_failed on booking.webhook_events (attempts, received_at) where status = 'failed';

create table booking.webhook_events_archive (
  stripe_event_id text primary key,
  event_type text not null,
  status booking.webhook_status not null,
  payload jsonb not null,
  attempts int not null,
  error jsonb,
  received_at timestamptz not null,
  updated_at timestamptz not null
);
comment on table booking.webhook_events_archive is 'Applied events past their active time, kept for audits until they are deleted';
create index webhook_events_archive_by_time on booking.webhook_events_archive (received_at);

reset role;
