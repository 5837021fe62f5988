-- booking.is_refund_held(): an open or lost dispute holds refunds back.
select plan(12);
create temp table b as select test.captured_booking() as id;
create function pg_temp.held() returns boolean language sql as $$ select booking.is_refund_held((test.payment(id)).id) from b $$;
select is(booking.is_refund_held('01890000-0000-7000-8000-000000000001'), false, 'no such payment');
select is(pg_temp.held(), false, 'no dispute');
create function pg_temp.with_dispute(p_status text) returns boolean language plpgsql as $$
declare v_held boolean;
begin
  begin
    perform test.dispute(id, p_status) from b;
    v_held := pg_temp.held();
    raise exception using errcode = 'TEST1';
  exception when sqlstate 'TEST1' then
    return v_held;
  end;
end $$;
select is(pg_temp.with_dispute(s), true, s || ' holds') from unnest(array['needs_response', 'under_review', 'warning_needs_response', 'warning_under_review', 'lost']) s;
select is(pg_temp.with_dispute(s), false, s || ' does not') from unnest(array['won', 'warning_closed', 'prevented']) s;
do $$ begin perform test.dispute(id, 'needs_response', 'dp_a'), test.dispute(id, 'needs_response', 'dp_b') from b; end $$;
do $$ begin perform test.dispute(id, 'won', 'dp_a') from b; end $$;
select is(pg_temp.held(), true, 'one of two is still open');
do $$ begin perform test.dispute(id, 'won', 'dp_b') from b; end $$;
select is(pg_temp.held(), false, 'both are won');
select * from finish();
