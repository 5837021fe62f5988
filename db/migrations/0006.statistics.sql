set local role booking_owner;

create type booking.stat_metric as enum ('booked', 'confirmed', 'declined', 'cancelled', 'expired',
  'cancelled_after_confirmation', 'completed', 'captured', 'refunded', 'slots', 'seats', 'webhooks');

-- Statistics at flat cost: writers append a narrow row here (no index, no hot counter), roll_up_stats() folds
-- the rows into stat_hours; a reader adds both, so the sum is exact at every moment.
create table booking.stat_deltas (
  metric booking.stat_metric not null,
  hour timestamptz not null,
  currency text not null default '',
  quantity bigint not null,
  amount bigint not null default 0
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);
comment on table booking.stat_deltas is 'Changes to the statistics that are not folded into stat_hours yet';

create table booking.stat_hours (
  metric booking.stat_metric not null,
  hour timestamptz not null,
  currency text not null default '',
  quantity bigint not null,
  amount bigint not null default 0,
  primary key (metric, hour, currency)
) with (fillfactor = 70);
comment on table booking.stat_hours is 'Statistics by UTC hour';
comment on column booking.stat_hours.hour is
  'booked to completed: hour of the booking''s creation; captured, refunded, webhooks: hour it happened; slots, seats: hour of the slot''s start';
comment on column booking.stat_hours.amount is
  'confirmed: microseconds from creation to confirmation; captured, refunded: minor units; slots, seats: open slots of one seat counter';

reset role;
