"""What is wrong with an installation, asked of the database; nothing is decided here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import psycopg

OUTBOX_LATE_SECONDS = 900
"""A command that waits longer than this means that no worker runs, or that Stripe is away."""

# A superuser's timeouts are not judged: nobody should serve as one.
_TIMEOUTS = """
select s.name, current_user::text as login
from pg_catalog.pg_settings s
where s.name in ('lock_timeout', 'statement_timeout', 'idle_in_transaction_session_timeout')
  and s.setting = '0'
  and not (select r.rolsuper from pg_catalog.pg_roles r where r.rolname = current_user)
order by s.name
"""


@dataclass(frozen=True)
class Trouble:
    """One thing for a person to look at."""

    check: str
    subject: str
    detail: Any


def examine(conn: psycopg.Connection[dict[str, Any]]) -> Iterator[Trouble]:
    """Invariants, alerts, outbox, webhooks, timeouts. The role must be a member of booking_dba."""
    for row in conn.execute("select * from booking.check_invariants()"):
        yield Trouble("invariant", f"{row['invariant']}: {row['subject']}", row["detail"])
    for row in conn.execute("select * from booking.list_alerts(p_all => false)"):
        yield Trouble("alert", f"{row['kind']}: {row['subject']}", row["detail"])
    for row in conn.execute("select * from booking.get_readiness()"):
        if row["commands_dead"]:
            yield Trouble("outbox", "dead commands", row["commands_dead"])
        if row["oldest_pending_seconds"] > OUTBOX_LATE_SECONDS:
            late = f"{row['commands_pending']} waiting, the oldest for {row['oldest_pending_seconds']} s"
            yield Trouble("outbox", "late: does a worker run?", late)
    for row in conn.execute("select * from booking.get_booking_stats()"):
        if row["webhook_failures"]:
            yield Trouble("webhooks", "events that failed", row["webhook_failures"])
    for row in conn.execute(_TIMEOUTS):
        yield Trouble(
            "setting", row["name"], f"no limit for {row['login']}; see alter role ... set {row['name']}"
        )
