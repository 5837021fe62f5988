-- booking.checkout_lock_key(): the key of the lock under which one user buys one product.
select plan(1);
select is(booking.checkout_lock_key('anna', 'course-1'), 'lock:user:anna:product:course-1', 'it names the user and the product');
select * from finish();
