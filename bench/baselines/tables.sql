-- The tables of the two frameworks' servers: the columns and indexes that ours have, in the form in which such programs
-- keep them. Seats are counted in the slot's row, because that is the row that they lock; a status is text; what is not
-- needed to book (audit, statistics, settings) is not there, so nothing is written to it. No foreign key of bookings, as
-- with us.
create table sessions (
  id uuid primary key,
  expert_id text not null,
  title text not null,
  amount bigint not null,
  currency char(3) not null
);

create table slots (
  id uuid primary key,
  session_id uuid not null references sessions (id),
  expert_id text not null,
  starts_at timestamptz not null,
  ends_at timestamptz not null,
  capacity int not null,
  seats_taken int not null default 0,
  constraint slots_not_oversold check (seats_taken between 0 and capacity)
);

create table bookings (
  id uuid primary key,
  slot_id uuid not null,
  session_id uuid not null,
  student_id text not null,
  expert_id text not null,
  payment_id uuid not null,
  status text not null,
  currency char(3) not null,
  amount bigint not null,
  scheduled_at timestamptz not null,
  ends_at timestamptz not null,
  details jsonb not null,
  cancelled_by text,
  cancellation_reason text,
  confirmed_at timestamptz,
  closed_at timestamptz,
  created_at timestamptz not null,
  updated_at timestamptz not null
) with (fillfactor = 90);
create unique index bookings_one_live_per_student on bookings (slot_id, student_id) where status in ('pending', 'confirmed');
create index bookings_by_student on bookings (student_id, id);
create index bookings_by_expert on bookings (expert_id, id);
create index bookings_due on bookings (status, (case when confirmed_at is not null then ends_at else created_at end)) where closed_at is null;
create index bookings_to_scrub on bookings (closed_at) where closed_at is not null;

-- the same slots, with the same ids
insert into sessions (id, expert_id, title, amount, currency)
select s.id, s.expert_id, s.title, s.amount, s.currency from booking.sessions s;
insert into slots (id, session_id, expert_id, starts_at, ends_at, capacity)
select s.id, s.session_id, s.expert_id, s.starts_at, s.ends_at, s.capacity from booking.slots s order by s.id;
