set local role booking_owner;

create type booking.stat_period as enum ('day', 'month');

-- A window of any length is then read in about as many rows: hours at its ends, days next to them, months in between.
create table booking.stat_periods (
  period booking.stat_period not null,
  begins_at timestamptz not null,
  metric booking.stat_metric not null,
  currency text not null default '',
  quantity bigint not null,
  amount bigint not null default 0,
  primary key (period, begins_at, metric, currency)
) with (fillfactor = 70);
comment on table booking.stat_periods is 'stat_hours added up by UTC day and month; kept by the trigger keep_stat_periods';
create index stat_hours_by_hour on booking.stat_hours (hour);

reset role;
