set local role booking_owner;

create table booking.deployed_functions (
  file text primary key,
  sha256 text not null,
  deployed_at timestamptz not null default clock_timestamp()
);
comment on table booking.deployed_functions is 'Function files as last loaded by pgbooking migrate';

create table booking.settings (
  only_row boolean primary key default true check (only_row),
  booking_timeout interval not null default '30 minutes' check (booking_timeout > interval '0'),
  idempotency_ttl interval not null default '24 hours' check (idempotency_ttl > interval '0'),
  command_max_attempts int not null default 25 check (command_max_attempts > 0),
  command_backoff interval not null default '1 second' check (command_backoff > interval '0'),
  command_backoff_cap interval not null default '2 hours' check (command_backoff_cap > interval '0'),
  webhook_max_attempts int not null default 25 check (webhook_max_attempts > 0)
);
comment on table booking.settings is 'What an installation may tune: one row, typed columns';
insert into booking.settings default values;

create table booking.refund_policies (
  min_notice interval primary key check (min_notice >= interval '0'),
  percent smallint not null check (percent between 0 and 100)
);
comment on table booking.refund_policies is
  'A student who cancels at least min_notice ahead of the slot gets percent back; without a matching row, nothing';
insert into booking.refund_policies (min_notice, percent) values ('24 hours', 100), ('2 hours', 50);

create type booking.confirmation_mode as enum ('expert', 'instant');

create table booking.experts (
  expert_id text primary key check (length(expert_id) between 1 and 255),
  expert_no int generated always as identity unique,
  created_at timestamptz not null default clock_timestamp()
);
comment on table booking.experts is 'One row an expert: the lock that publishing takes, and a small number for the overlap constraint';

create table booking.sessions (
  id uuid primary key,
  expert_id text not null references booking.experts (expert_id),
  title text not null check (length(title) between 1 and 200),
  amount bigint not null check (amount between 1 and 99999999999),
  currency char(3) not null check (currency ~ '^[a-z]{3}$'),
  created_at timestamptz not null default clock_timestamp(),
  updated_at timestamptz not null default clock_timestamp(),
  -- the smallest step that Stripe accepts; booking.currency_step() gives the same numbers
  constraint sessions_amount_step check (
    amount % (case when currency in ('bhd', 'jod', 'kwd', 'omr', 'tnd') then 10
                   when currency in ('isk', 'ugx') then 100 else 1 end) = 0)
);
comment on table booking.sessions is 'What is sold: an expert''s offer at a price in minor units';
create index sessions_by_expert on booking.sessions (expert_id, id);

create table booking.slots (
  id uuid primary key,
  expert_id text not null references booking.experts (expert_id),
  expert_no int not null,
  session_id uuid references booking.sessions (id),
  starts_at timestamptz not null check (isfinite(starts_at)),
  ends_at timestamptz not null check (isfinite(ends_at)),
  capacity int not null check (capacity between 1 and 1000000),
  parts smallint not null check (parts between 1 and 32),
  confirmation booking.confirmation_mode not null default 'expert',
  created_at timestamptz not null default clock_timestamp(),
  updated_at timestamptz not null default clock_timestamp(),
  check (ends_at > starts_at),
  -- Boxes touch at their edges, hence the millisecond: back-to-back slots are allowed.
  constraint slots_no_overlap exclude using gist (
    box(point(expert_no, extract(epoch from starts_at at time zone 'UTC')::float8),
        point(expert_no, extract(epoch from ends_at at time zone 'UTC')::float8 - 0.001)) with &&)
);
comment on table booking.slots is 'An expert''s time on offer; never changed or deleted once published, seats are counted in slot_seats';
create index slots_by_start on booking.slots (starts_at, id);
create index slots_of_classes on booking.slots (starts_at) where parts > 1;

-- A slot's seats, spread over 1 to 32 counter rows so that a popular class has no single hot row.
create table booking.slot_seats (
  slot_id uuid not null references booking.slots (id),
  part smallint not null,
  capacity int not null check (capacity > 0),
  taken int not null default 0,
  -- changes only when the part fills or empties: other updates stay HOT despite the partial indexes
  is_open boolean not null generated always as (taken < capacity) stored,
  expert_id text not null,
  starts_at timestamptz not null,
  primary key (slot_id, part),
  constraint seats_within_capacity check (taken between 0 and capacity)
) with (fillfactor = 80);
comment on table booking.slot_seats is 'Seat counters: taken never exceeds capacity, whoever writes';
create index slot_seats_open on booking.slot_seats (starts_at, slot_id) where is_open;
create index slot_seats_open_by_expert on booking.slot_seats (expert_id, starts_at, slot_id) where is_open;

reset role;
