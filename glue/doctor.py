"""What is wrong with an installation, asked of the database; nothing is decided here."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import psycopg

OUTBOX_LATE_SECONDS = 900
"""A command that waits longer than this means that no worker runs, or that Stripe is away."""

# What each login of the application gets when it connects to this database: its own setting here, its own
# everywhere, the database's, the server's. A superuser's is not judged: nobody should serve as one.
_TIMEOUTS = """
select l.rolname::text as login, n.name,
  coalesce(
    (
      select pg_catalog.split_part(c.line, '=', 2)
      from pg_catalog.pg_db_role_setting s, pg_catalog.unnest(s.setconfig) as c(line)
      where pg_catalog.split_part(c.line, '=', 1) = n.name
        and s.setrole in (l.oid, 0)
        and s.setdatabase in (0, (select d.oid from pg_catalog.pg_database d where d.datname =
        current_database()))
      order by s.setrole = 0, s.setdatabase = 0
      limit 1
    ),
    case when n.source not in ('user', 'database', 'database user', 'session', 'client') then n.setting end,
    '0'
  ) as value
from pg_catalog.pg_roles l, pg_catalog.pg_settings n
where l.rolcanlogin and not l.rolsuper and pg_catalog.pg_has_role(l.oid, 'booking_app', 'MEMBER')
  and n.name in ('lock_timeout', 'statement_timeout', 'idle_in_transaction_session_timeout')
order by 1, 2
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
        if re.fullmatch(r"0+ ?[a-z]*", row["value"]):
            advice = f"alter role {row['login']} set {row['name']} = ..."
            yield Trouble("setting", f"{row['name']} of {row['login']}", f"no limit; {advice}")
