set local role booking_owner;

create type booking.refund_request_status as enum ('pending', 'approved', 'rejected', 'refunded');

create table booking.refund_requests (
  id uuid primary key,
  booking_id uuid not null references booking.bookings (id),
  payment_id uuid not null references booking.payments (id),
  student_id text not null,
  amount bigint not null check (amount > 0),
  currency char(3) not null,
  reason text,
  status booking.refund_request_status not null default 'pending',
  decided_by text,
  decided_at timestamptz,
  note text,
  command_id uuid unique,
  beyond_policy boolean not null default false,
  created_at timestamptz not null default clock_timestamp(),
  updated_at timestamptz not null default clock_timestamp(),
  check ((decided_by is null) = (decided_at is null)),
  check (status = 'pending' or decided_by is not null),
  check (command_id is null or status in ('approved', 'refunded')),
  check (command_id is not null or status <> 'refunded')
);
comment on table booking.refund_requests is 'What a student asks back of a captured payment, and what an administrator decided';
comment on column booking.refund_requests.decided_by is 'Who decided; null again when a refund that failed makes the request pending';
comment on column booking.refund_requests.command_id is 'The outbox command that gives the money back, once it is queued';
comment on column booking.refund_requests.beyond_policy is
  'First approved when the booking had ended: on top of what the policy gives. Otherwise it counts towards that';
create index refund_requests_by_student on booking.refund_requests (student_id, id);
create index refund_requests_by_status on booking.refund_requests (status, id);
create index refund_requests_by_payment on booking.refund_requests (payment_id);
create index refund_requests_to_scrub on booking.refund_requests (coalesce(decided_at, created_at))
  where reason is not null or note is not null;

alter table booking.stripe_commands add column refund_request_id uuid references booking.refund_requests (id);
comment on column booking.stripe_commands.refund_request_id is 'The request that this refund was approved for; null: the policy''s';

reset role;
