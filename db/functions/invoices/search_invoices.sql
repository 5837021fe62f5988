-- Invoices and credit notes in their newest version, newest first, a page at a time (p_after: the last id of the page before):
-- those of a person as student or expert; of everybody for an administrator (p_is_admin: the caller vouches for it). Filters
-- narrow that down, null does not filter: student, expert, issued at or after p_from and before p_to, status, exact number.
-- Amounts in minor units, times UTC.
-- Locks: none. Errors: PT400 invalid_request (DETAIL.field user_id, status, to, limit).
create or replace function booking.search_invoices(
  p_user_id text,
  p_is_admin boolean default false,
  p_student_id text default null,
  p_expert_id text default null,
  p_from timestamptz default null,
  p_to timestamptz default null,
  p_status text default null,
  p_number text default null,
  p_after uuid default null,
  p_limit int default 50
)
returns table (
  invoice_id uuid,
  kind booking.invoice_kind,
  number text,
  status booking.invoice_status,
  version int,
  payment_id uuid,
  booking_id uuid,
  credited_invoice_id uuid,
  student_id text,
  expert_id text,
  buyer_name text,
  currency text,
  decimals int,
  net bigint,
  tax bigint,
  gross bigint,
  issued_at timestamptz
)
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_custom_plan -- each set of filters has an index of its own
as $$
#variable_conflict use_column
declare
  v_status booking.invoice_status;
  v_from timestamptz := coalesce(p_from, '-infinity'::timestamptz);
  v_time timestamptz := coalesce(p_to, 'infinity'::timestamptz);
  v_id uuid := '00000000-0000-0000-0000-000000000000'::uuid;
begin
  perform booking.require_person('user_id', p_user_id);
  if p_status is not null then
    if not p_status = any (enum_range(null::booking.invoice_status)::text[]) then
      perform booking.refuse(400, 'invalid_request',
        jsonb_build_object('field', 'status', 'allowed', enum_range(null::booking.invoice_status)),
        'Give one of the statuses of an invoice.');
    end if;
    v_status := p_status::booking.invoice_status;
  end if;
  if p_to <= p_from then
    perform booking.refuse(400, 'invalid_request', '{"field": "to"}', 'A period ends after it begins.');
  end if;
  if p_limit is null or p_limit not between 1 and 1000 then
    perform booking.refuse(400, 'invalid_request', '{"field": "limit"}', 'A page has 1 to 1000 invoices.');
  end if;
  -- the page begins below (v_time, v_id)
  if p_after is not null then
    select case when i.issued_at < v_time then i.issued_at else v_time end,
      case when i.issued_at < v_time then i.id else v_id end
    into v_time, v_id from booking.invoices i where i.id = p_after;
    v_time := coalesce(v_time, '-infinity');
  end if;

  -- index scans that stop after a page each; an invoice of a person to himself is listed once
  return query
    select i.id, i.kind, i.number, i.status, i.version, i.payment_id, i.booking_id, i.credited_invoice_id, i.student_id,
      i.expert_id, v.buyer ->> 'name', i.currency::text, i.decimals::int, v.net, v.tax, v.gross, i.issued_at
    from (
      (select a.* from booking.invoices a
       where p_is_admin and (a.issued_at, a.id) < (v_time, v_id) and a.issued_at >= v_from
         and (p_student_id is null or a.student_id = p_student_id) and (p_expert_id is null or a.expert_id = p_expert_id)
         and (v_status is null or a.status = v_status) and (p_number is null or a.number = p_number)
       order by a.issued_at desc, a.id desc limit p_limit)
      union all
      (select s.* from booking.invoices s
       where p_is_admin is not true and s.student_id = p_user_id
         and (s.issued_at, s.id) < (v_time, v_id) and s.issued_at >= v_from
         and (p_student_id is null or s.student_id = p_student_id) and (p_expert_id is null or s.expert_id = p_expert_id)
         and (v_status is null or s.status = v_status) and (p_number is null or s.number = p_number)
       order by s.issued_at desc, s.id desc limit p_limit)
      union all
      (select e.* from booking.invoices e
       where p_is_admin is not true and e.expert_id = p_user_id and e.student_id <> p_user_id
         and (e.issued_at, e.id) < (v_time, v_id) and e.issued_at >= v_from
         and (p_student_id is null or e.student_id = p_student_id) and (p_expert_id is null or e.expert_id = p_expert_id)
         and (v_status is null or e.status = v_status) and (p_number is null or e.number = p_number)
       order by e.issued_at desc, e.id desc limit p_limit)
      order by issued_at desc, id desc limit p_limit
    ) i
    join booking.invoice_versions v on v.invoice_id = i.id and v.version = i.version
    order by i.issued_at desc, i.id desc;
end
$$;

revoke all on function booking.search_invoices(text, boolean, text, text, timestamptz, timestamptz, text, text, uuid, int) from public;
grant execute on function booking.search_invoices(text, boolean, text, text, timestamptz, timestamptz, text, text, uuid, int)
  to booking_app, booking_dba;
comment on function booking.search_invoices(text, boolean, text, text, timestamptz, timestamptz, text, text, uuid, int) is
  'Invoices and credit notes, newest first, a page at a time: a person''s own, or everybody''s for an administrator';
