set local role booking_owner;

create type booking.reconciliation_status as enum ('running', 'finished');

create table booking.reconciliation_runs (
  id uuid primary key,
  window_from timestamptz not null check (isfinite(window_from)),
  window_to timestamptz not null check (isfinite(window_to)),
  status booking.reconciliation_status not null default 'running',
  actor text check (length(actor) between 1 and 255),
  asked_at timestamptz,
  differences int,
  pending int,
  finished_at timestamptz,
  created_at timestamptz not null default clock_timestamp(),
  updated_at timestamptz not null default clock_timestamp(),
  check (window_to > window_from),
  check ((status = 'finished') = (finished_at is not null and differences is not null and pending is not null))
);
comment on table booking.reconciliation_runs is 'Comparisons of our books with Stripe''s, each for what was created within a window of time';
comment on column booking.reconciliation_runs.asked_at is
  'When the doubtful ones were last listed: what is recorded after that was seen at Stripe after that';
comment on column booking.reconciliation_runs.pending is 'What differs and will not: the outbox is at it, or it moved while we compared';

-- Normalized and without personal data: ids, amounts, statuses.
create table booking.reconciliation_items (
  run_id uuid not null references booking.reconciliation_runs (id),
  object text not null check (object in ('payment_intent', 'charge', 'refund')),
  stripe_id text not null check (length(stripe_id) between 1 and 255),
  payment_intent_id text,
  named_payment_id uuid,
  named_order_id uuid,
  amount bigint not null,
  captured bigint not null,
  refunded bigint not null,
  currency text not null,
  status text not null,
  seen_at timestamptz not null,
  primary key (run_id, object, stripe_id)
);
create index reconciliation_items_by_intent on booking.reconciliation_items (run_id, payment_intent_id);
comment on table booking.reconciliation_items is 'What a run saw at Stripe, the newest word on each object';
comment on column booking.reconciliation_items.named_payment_id is 'metadata.payment_id, where it is an id of our form';
comment on column booking.reconciliation_items.refunded is
  'charge: in sum, without the rest of a hold that a partial capture released; refund: its amount unless it failed';
comment on column booking.reconciliation_items.status is
  'payment_intent, refund: Stripe''s word; charge: failed, pending, held, released (a hold that was let go) or captured';

create table booking.reconciliation_differences (
  run_id uuid not null references booking.reconciliation_runs (id),
  number int not null,
  payment_id uuid,
  order_id uuid,
  stripe_id text not null,
  kind text not null check (kind in ('missing_here', 'missing_at_stripe', 'amount', 'captured', 'refunded', 'status')),
  ours text,
  theirs text,
  waits_for text check (waits_for in ('outbox', 'moved')),
  primary key (run_id, number)
);
comment on table booking.reconciliation_differences is 'What a finished run found, append-only';
comment on column booking.reconciliation_differences.waits_for is
  'null: a difference. outbox: a command is open that explains it; moved: ours changed after Stripe was asked';

alter table booking.settings add column reports_foreign_payments boolean not null default true;
comment on column booking.settings.reports_foreign_payments is
  'Whether a PaymentIntent that does not name us is missing_here; off where other systems share the Stripe account';

create index payments_by_time on booking.payments using brin (created_at) with (pages_per_range = 16);

reset role;
