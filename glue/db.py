"""The connection pool: one call, one statement, one transaction.

Connections are in autocommit, so that no transaction is ever open while Python (or Stripe) is busy. Rows are
dicts. Errors of psycopg pass through unchanged: `glue.errors` alone knows what they mean.

The server may move to another machine at any moment. No answer is waited for without an end, and when one
connection turns out to lead nowhere, none of the others is trusted any more.
"""

from __future__ import annotations

import select
import threading
import time
from collections.abc import Callable, Generator, Mapping
from typing import Any, LiteralString, TypeVar

from psycopg import Connection, Cursor, OperationalError, conninfo, errors
from psycopg.rows import DictRow, dict_row, tuple_row
from psycopg.types.json import set_json_dumps
from psycopg_pool import ConnectionPool

from glue.plain_json import plain_json

Params = Mapping[str, Any]
T = TypeVar("T")

GRACE = 5.0
"""Seconds beyond statement_timeout until an answer is given up: that timeout does not count while a commit
waits for a standby, nor while the server cannot be reached."""


set_json_dumps(plain_json)


class Unanswered(OperationalError):
    """The server did not answer in time. What was asked may have been carried out, or still be."""


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
        grace: float = GRACE,
    ) -> None:
        limits = (
            f"-c statement_timeout={int(statement_timeout_ms)} -c lock_timeout={int(lock_timeout_ms)}"
            f" -c idle_in_transaction_session_timeout={int(statement_timeout_ms)} -c timezone=UTC"
        )
        self._distrust = threading.Lock()
        self._trusted_since = time.monotonic()
        self._pool: ConnectionPool[_Connection] = ConnectionPool(
            connection_string(url, application_name, limits),
            connection_class=_Connection.patient(statement_timeout_ms / 1000 + grace),
            kwargs={"autocommit": True, "row_factory": dict_row},
            min_size=min(min_size, max_size),
            max_size=max_size,
            timeout=acquire_timeout,
            # Give up early: the next caller then tries at once, instead of waiting out a long backoff
            # after the database has come back.
            reconnect_timeout=2.0,
            configure=_suit_pooler,
            check=_check,
            open=True,
            name=application_name,
        )

    def one(self, sql: LiteralString, params: Params | None = None) -> dict[str, Any] | None:
        """The first row, or None when there is none."""
        return self._ask(sql, params, Cursor.fetchone)

    def all(self, sql: LiteralString, params: Params | None = None) -> list[dict[str, Any]]:
        """Every row."""
        return self._ask(sql, params, Cursor.fetchall)

    def scalar(self, sql: LiteralString, params: Params | None = None) -> Any:
        """The first column of the first row, or None when there is no row."""
        row = self.one(sql, params)
        return None if row is None else next(iter(row.values()))

    def _ask(self, sql: LiteralString, params: Params | None, fetch: Callable[[Cursor[DictRow]], T]) -> T:
        connection = self._pool.getconn()
        try:
            return fetch(connection.execute(sql, params))
        except errors.ReadOnlySqlTransaction:
            connection.close()  # a standby; it would refuse for as long as the connection lives
            raise
        finally:
            if connection.closed:
                self._renew(connection)
            self._pool.putconn(connection)

    def _renew(self, lost: _Connection) -> None:
        """Where one connection was lost, the others that are as old lead to the same place: make new ones."""
        with self._distrust:
            if lost.opened >= self._trusted_since:
                self._trusted_since = time.monotonic()
                self._pool.drain()

    def close(self) -> None:
        """Closes the pool; calls after it raise `psycopg_pool.PoolClosed`."""
        self._pool.close()


def connection_string(url: str, application_name: str, options: str = "") -> str:
    """The URL with our timeouts and `options`; what it says itself wins.

    Of several hosts it is the one that writes which is meant: the first that answers may be a standby.
    """
    given = conninfo.conninfo_to_dict(url)
    defaults: dict[str, Any] = {
        "application_name": application_name,
        "connect_timeout": 3,
        "keepalives_idle": 10,
        "keepalives_interval": 3,
        "keepalives_count": 3,
        "tcp_user_timeout": 5_000,
    }
    if "," in str(given.get("host") or given.get("hostaddr") or ""):
        defaults["target_session_attrs"] = "read-write"
    merged = defaults | {key: value for key, value in given.items() if value is not None}
    merged["options"] = f"{options} {given.get('options') or ''}".strip()
    return conninfo.make_conninfo("", **merged)


class _Connection(Connection[DictRow]):
    """Closes itself when the server is silent for longer than `patience` seconds."""

    patience: float
    opened: float

    @classmethod
    def patient(cls, seconds: float) -> type[_Connection]:
        """Connections with so much of it."""
        return type("Patient", (cls,), {"patience": seconds})

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.opened = time.monotonic()
        self._said = select.poll()
        self._said.register(self.fileno(), select.POLLIN)

    def has_said_something(self) -> bool:
        """Whether there is something to read."""
        return bool(self._said.poll(0))

    def wait(self, gen: Generator[Any, Any, T], *arguments: Any, **named: Any) -> T:
        try:
            return super().wait(_until(gen, time.monotonic() + self.patience), *arguments, **named)
        except Unanswered:
            self.close()  # never cancelled: a commit that waits for its standby would be taken for done
            raise


def _until(generator: Generator[Any, Any, T], deadline: float) -> Generator[Any, Any, T]:
    """The same, until nothing is there to be read at the deadline. psycopg looks ten times a second."""
    try:
        state = next(generator)
        while True:
            ready = yield state
            if not ready and time.monotonic() > deadline:
                raise Unanswered("the server does not answer")
            state = generator.send(ready)
    except StopIteration as done:
        found: T = done.value
        return found


def is_pooled(connection: Connection[Any]) -> bool:
    """Whether a pooler (PgBouncer) is in between: it names a process that is not the server's. Asks once."""
    with connection.cursor(row_factory=tuple_row) as cursor:
        row = cursor.execute("select pg_catalog.pg_backend_pid()").fetchone()
    return row is not None and row[0] != connection.info.backend_pid


def _suit_pooler(connection: Connection[Any]) -> None:
    """A pooler may give each statement to another server process, which does not know what one prepared."""
    if is_pooled(connection):
        connection.prepare_threshold = None


def _check(connection: _Connection) -> None:
    """Refuses a connection that the server has closed meanwhile (a restart), without a round trip.

    On an idle connection nothing is to be read, unless it ended or a notice came: only then ask the server.
    """
    if connection.has_said_something():
        ConnectionPool.check_connection(connection)
