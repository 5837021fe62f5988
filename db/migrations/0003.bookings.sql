set local role booking_owner;

create type booking.booking_status as enum ('pending', 'confirmed', 'declined', 'cancelled', 'completed');

-- No foreign key to slots and sessions: its key-share lock would be taken on the one row that every buyer of a
-- class needs. Slots are never deleted (trigger), and a booking is only made from a slot that was just read.
-- No check constraints either: each insert would parse them anew, two fifths of its cost; trigger keep_booking has the rules.
create table booking.bookings (
  id uuid primary key,
  slot_id uuid not null,
  session_id uuid not null,
  student_id text not null,
  expert_id text not null,
  payment_id uuid not null,
  seat_part smallint not null,
  status booking.booking_status not null default 'pending',
  confirmation booking.confirmation_mode not null,
  currency char(3) not null,
  amount bigint not null,
  scheduled_at timestamptz not null,
  ends_at timestamptz not null,
  details jsonb not null default '{}',
  cancelled_by text,
  cancellation_reason text,
  refund_percent smallint,
  confirmed_at timestamptz,
  closed_at timestamptz,
  scrubbed_at timestamptz,
  created_at timestamptz not null default clock_timestamp(),
  updated_at timestamptz not null default clock_timestamp()
) with (fillfactor = 90);
comment on table booking.bookings is 'One student''s seat in one slot. Its row is the record of its creation; every later step is in booking_events';
comment on column booking.bookings.payment_id is 'Fixed at creation; the payments row is born when a payment is first prepared';
comment on column booking.bookings.refund_percent is 'What of the captured amount a declined or cancelled booking gives back';

create unique index bookings_one_live_per_student on booking.bookings (slot_id, student_id)
  where status in ('pending', 'confirmed');
create index bookings_by_student on booking.bookings (student_id, id);
create index bookings_by_expert on booking.bookings (expert_id, id);
create index bookings_pending on booking.bookings (created_at) where status = 'pending';
create index bookings_confirmed on booking.bookings (ends_at) where status = 'confirmed';
create index bookings_to_scrub on booking.bookings (closed_at) where closed_at is not null and scrubbed_at is null;

create table booking.booking_events (
  booking_id uuid not null,
  id bigint generated always as identity,
  from_status booking.booking_status not null,
  to_status booking.booking_status not null,
  actor text not null,
  reason text,
  created_at timestamptz not null default clock_timestamp(),
  primary key (booking_id, id)
);
comment on table booking.booking_events is
  'Append-only audit trail: who moved a booking from which status to which, when. Creation is the booking''s own row';
comment on column booking.booking_events.reason is 'A machine code; free text stays in bookings, where it can be scrubbed';

create table booking.client_idempotency (
  scope text not null check (scope in ('booking')),
  user_id text not null,
  idempotency_key text not null check (length(idempotency_key) between 1 and 255),
  request_hash bytea not null,
  result_id uuid not null,
  expires_at timestamptz not null,
  created_at timestamptz not null default clock_timestamp(),
  primary key (scope, user_id, idempotency_key)
);
comment on table booking.client_idempotency is 'What a client''s idempotency key answered, for as long as settings.idempotency_ttl';
create index client_idempotency_by_expiry on booking.client_idempotency (expires_at);

reset role;
