drop table booking.invoice_versions, booking.invoices, booking.invoice_series cascade;
drop type booking.invoice_status, booking.invoice_kind cascade;
alter table booking.settings
  drop constraint settings_series_differ,
  drop column seller_name, drop column seller_address, drop column seller_tax_id, drop column tax_name, drop column tax_rate,
  drop column invoice_series, drop column credit_note_series;
