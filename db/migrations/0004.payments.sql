set local role booking_owner;

create type booking.payment_status as enum ('pending', 'requires_action', 'processing', 'failed', 'authorized', 'captured',
  'partially_refunded', 'refunded', 'cancelled');
create type booking.refund_status as enum ('pending', 'requires_action', 'succeeded', 'failed', 'canceled');
create type booking.command_status as enum ('pending', 'running', 'done', 'dead');
create type booking.command_outcome as enum ('applied', 'refused', 'superseded');

create table booking.payments (
  id uuid primary key,
  booking_id uuid not null unique references booking.bookings (id),
  amount bigint not null check (amount > 0),
  currency char(3) not null,
  status booking.payment_status not null default 'pending',
  amount_captured bigint not null default 0,
  amount_refunded bigint not null default 0,
  charge_refunded bigint not null default 0,
  stripe_payment_intent_id text unique check (length(stripe_payment_intent_id) between 1 and 255),
  stripe_charge_id text,
  capture_before timestamptz,
  stripe_seen_at timestamptz,
  stripe_cancelled_at timestamptz,
  created_at timestamptz not null default clock_timestamp(),
  updated_at timestamptz not null default clock_timestamp(),
  check (amount_refunded >= 0 and amount_refunded <= amount_captured and amount_captured <= amount),
  check (status in ('captured', 'partially_refunded', 'refunded') = (amount_captured > 0))
) with (fillfactor = 85);
comment on table booking.payments is 'What Stripe says of a booking''s one PaymentIntent; what we wish of it is in stripe_commands';
comment on column booking.payments.charge_refunded is 'The largest refund total the charge ever showed: counts only beyond the refunds we know one by one';
comment on column booking.payments.capture_before is 'When the hold lapses at Stripe';
comment on column booking.payments.stripe_seen_at is 'Time of the newest object applied before authorization: older ones do not take the status back';
comment on column booking.payments.stripe_cancelled_at is 'When Stripe said the PaymentIntent is canceled';

create table booking.refunds (
  stripe_refund_id text primary key,
  payment_id uuid not null references booking.payments (id),
  command_id uuid,
  amount bigint not null check (amount > 0),
  currency char(3) not null,
  status booking.refund_status not null,
  failure_reason text,
  created_at timestamptz not null default clock_timestamp(),
  updated_at timestamptz not null default clock_timestamp()
);
comment on table booking.refunds is 'One row a Stripe refund; failed and canceled are final';
create index refunds_by_payment on booking.refunds (payment_id);

create table booking.disputes (
  stripe_dispute_id text primary key,
  payment_id uuid not null references booking.payments (id),
  amount bigint not null,
  currency char(3) not null,
  status text not null,
  reason text,
  stripe_seen_at timestamptz not null,
  created_at timestamptz not null default clock_timestamp(),
  updated_at timestamptz not null default clock_timestamp()
);
comment on table booking.disputes is 'Chargebacks: no refund leaves by itself while one is open or lost';
create index disputes_by_payment on booking.disputes (payment_id);

create table booking.transfers (
  payment_id uuid not null references booking.payments (id),
  id bigint generated always as identity,
  kind text not null check (kind in ('capture', 'refund', 'refund_reversal')),
  debit_account text not null,
  credit_account text not null,
  amount bigint not null check (amount > 0),
  currency char(3) not null,
  source text not null,
  created_at timestamptz not null default clock_timestamp(),
  primary key (payment_id, id),
  check (debit_account <> credit_account)
);
comment on table booking.transfers is
  'The ledger, append-only: each row debits one account and credits another by the same amount, so it balances by construction';

create table booking.stripe_commands (
  id uuid primary key,
  payment_id uuid not null,
  operation text not null
    check (operation in ('capture_payment_intent', 'cancel_payment_intent', 'create_refund', 'expire_checkout_session')),
  stripe_id text not null,
  params jsonb not null default '{}',
  status booking.command_status not null default 'pending',
  outcome booking.command_outcome,
  attempts int not null default 0,
  key_generation int not null default 1,
  run_at timestamptz not null default clock_timestamp(),
  locked_by text,
  lease_until timestamptz,
  last_error jsonb,
  created_at timestamptz not null default clock_timestamp(),
  updated_at timestamptz not null default clock_timestamp(),
  check ((status = 'running') = (locked_by is not null and lease_until is not null)),
  check ((status = 'done') = (outcome is not null))
) with (fillfactor = 70);
comment on table booking.stripe_commands is 'The outbox: what Stripe still has to be told, in the same commit as the decision';
comment on column booking.stripe_commands.outcome is 'applied at Stripe, refused by Stripe for good, or superseded by a later decision before it was sent';
-- One open command a PaymentIntent: a second wish waits until the outcome of the first is known.
create unique index stripe_commands_one_open on booking.stripe_commands (stripe_id) where status in ('pending', 'running');
create index stripe_commands_due on booking.stripe_commands (run_at) where status in ('pending', 'running');
create index stripe_commands_dead on booking.stripe_commands (created_at) where status = 'dead';
create index stripe_commands_by_payment on booking.stripe_commands (payment_id);

create table booking.alerts (
  id bigint generated always as identity primary key,
  kind text not null,
  subject text not null,
  detail jsonb not null default '{}',
  times int not null default 1,
  first_at timestamptz not null,
  last_at timestamptz not null,
  resolved_at timestamptz,
  resolved_by text
);
comment on table booking.alerts is 'What a person must look at; one open row a kind and subject';
create unique index alerts_one_open on booking.alerts (kind, subject) where resolved_at is null;

reset role;
