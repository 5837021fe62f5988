"""The connection pool: one call, one statement, one transaction.

Connections are in autocommit, so that no transaction is ever open while Python (or Stripe) is busy. Rows are
dicts. Errors of psycopg pass through unchanged: `glue.errors` alone knows what they mean.
"""

from __future__ import annotations

import select
from collections.abc import Mapping
from typing import Any, LiteralString

from psycopg import Connection, conninfo
from psycopg.rows import DictRow, dict_row
from psycopg_pool import ConnectionPool

Params = Mapping[str, Any]


class Database:
    """A lazily filled pool of connections to one database.

    Making one never connects, so a process starts while the database is away; a call then raises
    `psycopg_pool.PoolTimeout` after `acquire_timeout` seconds. Make one in each process: a pool does not
    survive a fork. Thread-safe.
    """

    def __init__(
        self,
        url: str,
        *,
        min_size: int = 1,
        max_size: int = 8,
        statement_timeout_ms: int = 10_000,
        lock_timeout_ms: int = 5_000,
        acquire_timeout: float = 5.0,
        application_name: str = "pgbooking",
    ) -> None:
        self._pool: ConnectionPool[Connection[DictRow]] = ConnectionPool(
            _with_defaults(url, statement_timeout_ms, lock_timeout_ms, application_name),
            kwargs={"autocommit": True, "row_factory": dict_row},
            min_size=min(min_size, max_size),
            max_size=max_size,
            timeout=acquire_timeout,
            # Give up early: the next caller then tries at once, instead of waiting out a long backoff
            # after the database has come back.
            reconnect_timeout=2.0,
            check=_check,
            open=True,
            name=application_name,
        )

    def one(self, sql: LiteralString, params: Params | None = None) -> dict[str, Any] | None:
        """The first row, or None when there is none."""
        with self._pool.connection() as connection:
            return connection.execute(sql, params).fetchone()

    def all(self, sql: LiteralString, params: Params | None = None) -> list[dict[str, Any]]:
        """Every row."""
        with self._pool.connection() as connection:
            return connection.execute(sql, params).fetchall()

    def scalar(self, sql: LiteralString, params: Params | None = None) -> Any:
        """The first column of the first row, or None when there is no row."""
        row = self.one(sql, params)
        return None if row is None else next(iter(row.values()))

    def close(self) -> None:
        """Closes the pool; calls after it raise `psycopg_pool.PoolClosed`."""
        self._pool.close()


def _with_defaults(url: str, statement_timeout_ms: int, lock_timeout_ms: int, application_name: str) -> str:
    """The connection string with our timeouts; what the string itself says wins."""
    given = conninfo.conninfo_to_dict(url)
    ours = (
        f"-c statement_timeout={int(statement_timeout_ms)} -c lock_timeout={int(lock_timeout_ms)}"
        f" -c idle_in_transaction_session_timeout={int(statement_timeout_ms)} -c timezone=UTC"
    )
    defaults: dict[str, Any] = {
        "application_name": application_name,
        "connect_timeout": 3,
        "keepalives_idle": 30,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": 15_000,
    }
    merged = defaults | {key: value for key, value in given.items() if value is not None}
    merged["options"] = f"{ours} {given.get('options') or ''}".strip()
    return conninfo.make_conninfo("", **merged)


def _check(connection: Connection[Any]) -> None:
    """Refuses a connection that the server has closed meanwhile (a restart), without a round trip.

    On an idle connection nothing is to be read, unless it ended or a notice came: only then ask the server.
    """
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    if poll.poll(0):
        ConnectionPool.check_connection(connection)
