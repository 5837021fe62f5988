set local role booking_owner;

create type booking.order_status as enum ('pending', 'paid', 'failed', 'expired');

alter table booking.settings
  add column checkout_lock_ttl interval not null default '10 seconds' check (checkout_lock_ttl > interval '0');
comment on column booking.settings.idempotency_ttl is
  'Life of every client''s idempotency key, of bookings, classes and orders alike (Stripe keeps its own for 24 hours)';

create table booking.products (
  id text primary key check (length(id) between 1 and 255),
  name text not null check (length(name) between 1 and 200),
  amount bigint not null check (amount between 1 and 99999999999),
  currency char(3) not null check (currency ~ '^[a-z]{3}$'),
  created_at timestamptz not null default clock_timestamp(),
  updated_at timestamptz not null default clock_timestamp(),
  constraint products_amount_step check (
    amount % (case when currency in ('bhd', 'jod', 'kwd', 'omr', 'tnd') then 10
                   when currency in ('isk', 'ugx') then 100 else 1 end) = 0)
);
comment on table booking.products is 'What is sold through Stripe Checkout, at a price in minor units';

-- No foreign key to products: its key-share lock would be taken on the one row that every buyer needs. They are never deleted.
create table booking.orders (
  id uuid primary key,
  product_id text not null,
  user_id text not null check (length(user_id) between 1 and 255),
  amount bigint not null check (amount > 0),
  currency char(3) not null,
  status booking.order_status not null default 'pending',
  stripe_session_id text unique check (length(stripe_session_id) between 1 and 255),
  stripe_payment_intent_id text unique check (length(stripe_payment_intent_id) between 1 and 255),
  checkout_url text check (length(checkout_url) between 1 and 5000),
  superseded_by uuid references booking.orders (id),
  last_error text check (length(last_error) <= 500),
  expires_at timestamptz,
  paid_at timestamptz,
  closed_at timestamptz,
  created_at timestamptz not null default clock_timestamp(),
  updated_at timestamptz not null default clock_timestamp(),
  check ((status = 'paid') = (paid_at is not null)),
  check (status = 'pending' or closed_at is not null)
) with (fillfactor = 80);
comment on table booking.orders is 'One purchase of one product through one Checkout Session; the price is the product''s when it began';
comment on column booking.orders.superseded_by is 'The newer order of the same user and product that began while this one was unpaid';
comment on column booking.orders.expires_at is 'When Stripe ends the session by itself, as far as Stripe has told';
comment on column booking.orders.last_error is 'What went wrong last: codes, no personal text';
comment on column booking.orders.closed_at is 'When it first left pending';
create index orders_unpaid on booking.orders (user_id, product_id, id) where status = 'pending';
create index orders_superseded on booking.orders (superseded_by) where superseded_by is not null;
create index orders_without_session on booking.orders (created_at) where status = 'pending' and stripe_session_id is null;
create index orders_by_time on booking.orders (created_at);

create table booking.concurrency_locks (
  lock_key text primary key check (length(lock_key) between 1 and 1000),
  user_id text not null,
  product_id text not null,
  request_id text not null,
  acquired_at timestamptz not null,
  expires_at timestamptz not null,
  check (expires_at > acquired_at)
);
comment on table booking.concurrency_locks is 'Who works on a purchase right now; a lock of a request that died lapses by itself';
create index concurrency_locks_by_expiry on booking.concurrency_locks (expires_at);

-- No hot counter: a row for each lock that ended and for each request that was turned away or repeated.
create table booking.checkout_events (
  id bigint generated always as identity primary key,
  kind text not null check (kind in ('released', 'lapsed', 'refused', 'repeated')),
  held interval check ((kind in ('released', 'lapsed')) = (held is not null)),
  happened_at timestamptz not null
);
comment on table booking.checkout_events is 'What get_checkout_stats() counts, without any id; kept for 30 days';
create index checkout_events_by_time on booking.checkout_events (happened_at);

alter table booking.client_idempotency drop constraint client_idempotency_scope_check;
alter table booking.client_idempotency add constraint client_idempotency_scope_check check (scope in ('booking', 'class', 'checkout'));

-- A command belongs to a payment or to an order.
alter table booking.stripe_commands alter column payment_id drop not null;
alter table booking.stripe_commands add column order_id uuid;
alter table booking.stripe_commands add constraint stripe_commands_one_subject check (num_nonnulls(payment_id, order_id) = 1);
create index stripe_commands_by_order on booking.stripe_commands (order_id) where order_id is not null;

reset role;
