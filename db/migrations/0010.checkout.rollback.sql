delete from booking.stripe_commands where order_id is not null;
alter table booking.stripe_commands drop constraint stripe_commands_one_subject;
alter table booking.stripe_commands drop column order_id;
alter table booking.stripe_commands alter column payment_id set not null;
delete from booking.client_idempotency where scope = 'checkout';
drop table booking.checkout_events, booking.concurrency_locks, booking.orders, booking.products cascade;
alter table booking.settings drop column checkout_lock_ttl;
comment on column booking.settings.idempotency_ttl is null;
drop type booking.order_status cascade;
