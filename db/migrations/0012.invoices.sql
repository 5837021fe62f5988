set local role booking_owner;

alter table booking.settings
  add column seller_name text not null default '' check (length(seller_name) <= 200),
  add column seller_address text not null default '' check (length(seller_address) <= 1000),
  add column seller_tax_id text not null default '' check (length(seller_tax_id) <= 50),
  add column tax_name text not null default 'VAT' check (length(tax_name) between 1 and 30),
  add column tax_rate int not null default 0 check (tax_rate between 0 and 10000),
  add column invoice_series text not null default 'INV' check (invoice_series ~ '^[A-Z0-9]{1,10}$'),
  add column credit_note_series text not null default 'CN' check (credit_note_series ~ '^[A-Z0-9]{1,10}$'),
  add constraint settings_series_differ check (invoice_series <> credit_note_series);
comment on column booking.settings.tax_rate is 'In hundredths of a percent (1900 is 19 %); prices include the tax';
comment on column booking.settings.invoice_series is 'Begins the numbers of invoices; a new one begins at 1';

create type booking.invoice_kind as enum ('invoice', 'credit_note');
create type booking.invoice_status as enum ('issued', 'partially_credited', 'credited', 'void');

create table booking.invoice_series (
  series text not null,
  year int not null,
  last_number int not null default 0 check (last_number >= 0),
  primary key (series, year)
);
comment on table booking.invoice_series is
  'The last number of a series and UTC year: a row, not a sequence, because a transaction that is rolled back must leave no gap';

create table booking.invoices (
  id uuid primary key,
  kind booking.invoice_kind not null,
  series text not null,
  year int not null,
  serial int not null check (serial > 0),
  number text not null unique,
  payment_id uuid not null references booking.payments (id),
  booking_id uuid not null,
  credited_invoice_id uuid references booking.invoices (id),
  student_id text not null,
  expert_id text not null,
  currency char(3) not null,
  decimals smallint not null check (decimals in (0, 2, 3)),
  status booking.invoice_status not null default 'issued',
  version int not null default 1 check (version > 0),
  gross bigint not null check (gross >= 0),
  issued_at timestamptz not null,
  created_at timestamptz not null default clock_timestamp(),
  updated_at timestamptz not null default clock_timestamp(),
  constraint invoices_series_year_serial unique (series, year, serial),
  check ((kind = 'credit_note') = (credited_invoice_id is not null)),
  check (case kind when 'invoice' then status <> 'void' and gross > 0
                   else status in ('issued', 'void') and (status = 'void') = (gross = 0) end)
) with (fillfactor = 90);
comment on table booking.invoices is 'Invoices and credit notes by number; what they say is in invoice_versions';
comment on column booking.invoices.version is 'The newest version; gross is that version''s';
comment on column booking.invoices.decimals is 'Digits after the point of the amounts (minor units) when they are written out';
create unique index invoices_one_per_payment on booking.invoices (payment_id) where kind = 'invoice';
create index invoices_credit_notes on booking.invoices (payment_id) where kind = 'credit_note';
create index invoices_by_time on booking.invoices (issued_at, id);
create index invoices_by_student on booking.invoices (student_id, issued_at, id);
create index invoices_by_expert on booking.invoices (expert_id, issued_at, id);
create index invoices_by_status on booking.invoices (status, issued_at, id);

create table booking.invoice_versions (
  invoice_id uuid not null references booking.invoices (id),
  version int not null check (version > 0),
  seller jsonb not null,
  buyer jsonb not null,
  line jsonb not null,
  tax_name text not null,
  tax_rate int not null check (tax_rate between 0 and 10000),
  net bigint not null check (net >= 0),
  tax bigint not null check (tax >= 0),
  gross bigint not null,
  reason text not null,
  note text,
  created_at timestamptz not null,
  primary key (invoice_id, version),
  check (net + tax = gross)
);
comment on table booking.invoice_versions is 'What an invoice or credit note says, as it was made: append-only, a correction adds a version';
comment on column booking.invoice_versions.reason is 'issued, corrected, captured_more or refund_failed';
comment on column booking.invoice_versions.note is 'Why it was corrected, in a person''s words';

reset role;
