alter table booking.settings drop column reports_foreign_payments;
drop index booking.payments_by_time;
drop table booking.reconciliation_differences, booking.reconciliation_items, booking.reconciliation_runs cascade;
drop type booking.reconciliation_status cascade;
