"""Our database for one run: a transaction that is taken back, in which the clock is the run's."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, LiteralString

import psycopg
from psycopg.rows import dict_row, tuple_row

Row = dict[str, Any]

COMMAND_ATTEMPTS, WEBHOOK_ATTEMPTS = 3, 2
"""Few, so that commands die and events are left to a person."""

# A clock that the run sets, and no other.
_SETUP = f"""
set model.now = '2031-01-01';
create or replace function booking.clock() returns timestamptz language sql volatile parallel safe
as $$ select pg_catalog.current_setting('model.now')::pg_catalog.timestamptz $$;
update booking.settings
set command_max_attempts = {COMMAND_ATTEMPTS}, webhook_max_attempts = {WEBHOOK_ATTEMPTS};
-- While the run says so, whatever would write to a payment or an order fails.
create function public.model_sick() returns trigger language plpgsql as $$
begin
  if pg_catalog.current_setting('model.sick') = 'on' then
    raise exception 'sick';
  end if;
  return new;
end
$$;
set model.sick = 'off';
create trigger model_sick before update on booking.payments for each row execute function public.model_sick();
create trigger model_sick before update on booking.orders for each row execute function public.model_sick();
select booking.create_product('book', 'A book', 1900, 'eur');
"""

# Everything that must hold between the tables, as one statement that is planned once.
_BODY = """
select p.prosrc from pg_proc p join pg_namespace n on n.oid = p.pronamespace
where n.nspname = 'booking' and p.proname = 'check_invariants'
"""

# plpgsql keeps the plan; psycopg forgets its statements after every rollback.
_LOOK = """
create or replace function public.model_look(
  out bookings json, out seats json, out commands json, out requests json, out orders json, out alerts json,
  out events json, out failed json, out broken json)
language plpgsql as $look$
#variable_conflict use_column
begin
select
  (select json_agg(x) from (
    select b.id::text, b.status, b.cancelled_by, b.refund_percent, b.slot_id::text, b.student_id,
      b.payment_id::text, p.booking_id = b.id as has_payment,
      p.status as payment_status, p.amount_captured, p.amount_refunded,
      p.stripe_payment_intent_id, extract(epoch from p.updated_at) as changed_at
    from booking.bookings b left join booking.payments p on p.id = b.payment_id order by b.id) x) as bookings,
  (select json_object_agg(x.slot_id, x.taken) from (
    select q.slot_id, sum(q.taken) as taken from booking.slot_seats q group by q.slot_id) x) as seats,
  (select json_agg(x) from (
    select c.id::text, c.payment_id::text, c.order_id::text, c.operation, c.stripe_id, c.status, c.outcome,
      c.attempts, (c.params ->> 'amount')::bigint as amount, c.refund_request_id::text as request_id
    from booking.stripe_commands c order by c.created_at, c.id) x) as commands,
  (select json_agg(x) from (
    select q.id::text, q.booking_id::text, q.payment_id::text, q.student_id, q.amount, q.status
    from booking.refund_requests q order by q.created_at, q.id) x) as requests,
  (select json_agg(x) from (
    select o.id::text, o.user_id, o.product_id, o.status, o.stripe_session_id, o.stripe_payment_intent_id,
      o.superseded_by::text, extract(epoch from o.updated_at) as changed_at
    from booking.orders o order by o.created_at, o.id) x) as orders,
  (select json_agg(x) from (
    select a.kind, a.subject from booking.alerts a where a.resolved_at is null) x) as alerts,
  (select json_agg(x) from (
    select e.booking_id::text, e.from_status, e.to_status from booking.booking_events e order by e.id) x
  ) as events,
  (select json_agg(x) from (select w.stripe_event_id, w.attempts, w.error from booking.webhook_events w
    where w.status = 'failed') x) as failed,
  (select json_agg(x) from ({body}) x (invariant, subject, detail)) as broken
into bookings, seats, commands, requests, orders, alerts, events, failed, broken;
end
$look$
"""


@dataclass(frozen=True)
class Answer:
    """What a function returned, or its refusal: 'PT409 slot_unavailable'."""

    rows: tuple[Row, ...] = ()
    refusal: str = ""
    detail: str = field(default="", compare=False)

    @property
    def row(self) -> Row:
        (found,) = self.rows
        return found

    @property
    def value(self) -> Any:
        return next(iter(self.row.values()))


@dataclass(frozen=True)
class Look:
    """What is in the tables."""

    bookings: list[Row]
    seats: dict[str, int]
    commands: list[Row]
    requests: list[Row]
    orders: list[Row]
    alerts: list[Row]
    events: list[Row]
    failed: list[Row]
    broken: list[Row]


class Books:
    """Calls functions as the roles that may; whatever a run wrote is gone at its end."""

    def __init__(self, url: str) -> None:
        self.conn: psycopg.Connection[Row] = psycopg.connect(url, autocommit=True, row_factory=dict_row)
        self.conn.execute(_SETUP.encode())
        body = self.conn.cursor(row_factory=tuple_row).execute(_BODY).fetchone()
        assert body is not None
        self.conn.execute(_LOOK.replace("{body}", body[0].strip().rstrip(";")).encode())
        self.conn.execute("set plan_cache_mode = force_generic_plan")
        self.conn.prepare_threshold = 1
        self._runs = 0
        self._now = ""

    def close(self) -> None:
        self.conn.close()

    def begin(self, now: datetime) -> None:
        self.set_time(now)
        self.conn.execute("begin")
        self.conn.execute("select setseed(0.5)")

    def end(self) -> None:
        self.conn.execute("rollback")
        self._runs += 1
        if self._runs % 200 == 0:
            self.conn.execute("vacuum")  # what runs wrote and took back is still in the files

    def set_time(self, now: datetime) -> None:
        self._now = now.isoformat()

    def call(
        self, query: LiteralString, role: str = "booking_app", *, is_sick: bool = False, **params: Any
    ) -> Answer:
        """A refusal takes back what the call did, as its transaction would."""
        self.conn.execute(
            f"set local model.now = '{self._now}'; savepoint call; set local role {role};"
            f" set local model.sick = '{'on' if is_sick else 'off'}'".encode()
        )
        try:
            cursor = self.conn.execute(query, params)
            rows = tuple(cursor.fetchall()) if cursor.description else ()
        except psycopg.Error as error:
            if error.sqlstate is None:
                raise
            self.conn.execute("rollback to savepoint call; release savepoint call")
            return Answer(
                (), f"{error.sqlstate} {error.diag.message_primary}", error.diag.message_detail or ""
            )
        self.conn.execute("reset role; release savepoint call")
        return Answer(rows)

    def look(self) -> Look:
        row = self.conn.execute("select * from public.model_look()").fetchone()
        assert row is not None
        found: dict[str, Any] = {name: value or [] for name, value in row.items()}
        return Look(**found)

    def value(self, query: LiteralString, **params: Any) -> Any:
        """As superuser."""
        row = self.conn.execute(query, params).fetchone()
        assert row is not None
        return next(iter(row.values()))
