"""Sessions that wait for each other's locks, and what to ask of the server while they do.

A race here is never a matter of time: one session holds a lock, the server says that the others wait for it,
then the lock is let go. Whoever waits is asked of pg_blocking_pids and pg_stat_activity.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

Row = dict[str, Any]
Query = Any
T = TypeVar("T")

ROOT = Path(__file__).parents[3]
_numbers = itertools.count(1)
_BUILDERS = ROOT / "tests" / "sql" / "helpers" / "test_builders.sql"


@dataclass(frozen=True)
class Outcome:
    """What a statement came to: its rows, or the error that the server raised."""

    rows: tuple[Row, ...] = ()
    sqlstate: str | None = None
    message: str = ""
    detail: str = field(default="", compare=False)

    @property
    def refused(self) -> bool:
        return self.sqlstate is not None

    @property
    def value(self) -> Any:
        """The first column of the first row."""
        assert not self.refused, self
        return next(iter(self.rows[0].values()))

    @property
    def row(self) -> Row:
        assert not self.refused, self
        (found,) = self.rows
        return found

    @property
    def code(self) -> str:
        """'ok', or the refusal: 'PT409 slot_unavailable'."""
        return "ok" if self.sqlstate is None else f"{self.sqlstate} {self.message}"


class Session:
    """One connection and a thread of its own: what runs there may wait while the test goes on."""

    def __init__(self, url: str, role: str | None) -> None:
        self.conn: psycopg.Connection[Row] = psycopg.connect(url, autocommit=True, row_factory=dict_row)
        if role is not None:
            self.conn.execute(sql.SQL("set role {}").format(sql.Identifier(role)))
        self.pid = self.conn.info.backend_pid
        self._thread = ThreadPoolExecutor(1)

    def close(self) -> None:
        self.conn.cancel_safe(timeout=5)
        self._thread.shutdown()
        self.conn.close()

    def reset(self) -> None:
        """Whatever a test that failed has left behind."""
        self.conn.cancel_safe(timeout=5)
        self._thread.submit(int).result()
        if self.conn.info.transaction_status != psycopg.pq.TransactionStatus.IDLE:
            self.rollback()

    def call(self, query: Query, params: Mapping[str, Any] | None = None) -> Outcome:
        """Run a statement; it commits at once, unless `hold` has begun a transaction."""
        try:
            cursor = self.conn.execute(query, params)
            rows = tuple(cursor.fetchall()) if cursor.description else ()
        except psycopg.Error as error:
            if error.sqlstate is None:
                raise  # the connection, not the statement
            diagnosis = error.diag
            return Outcome(
                (), error.sqlstate, diagnosis.message_primary or "", diagnosis.message_detail or ""
            )
        return Outcome(rows)

    def hold(self, query: Query, params: Mapping[str, Any] | None = None) -> Outcome:
        """Run a statement and keep its transaction, and its locks, open."""
        if self.conn.info.transaction_status == psycopg.pq.TransactionStatus.IDLE:
            self.conn.execute("begin")
        return self.call(query, params)

    def commit(self) -> None:
        self.conn.execute("commit")

    def rollback(self) -> None:
        self.conn.execute("rollback")

    def start(self, query: Query, params: Mapping[str, Any] | None = None) -> Future[Outcome]:
        """Run a statement in the session's own thread."""
        return self._thread.submit(self.call, query, params)

    def do(self, work: Callable[[], T]) -> Future[T]:
        """Run anything in the session's own thread."""
        return self._thread.submit(work)


Sessions = dict[str | None, list[Session]]
"""Sessions by the role that they have."""


class Arena:
    """One database, the sessions in it, and a look at what they wait for."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.patience = 6000  # questions, a few ms apart, before a wait is given up
        self.harmed = False  # a guard was taken away, deadlocks are no surprise
        self._sessions: list[Session] = []
        self.watch = Session(url, None)
        # A deadlock shows at once instead of after a second, and a test that hangs ends.
        self.watch.conn.execute(
            sql.SQL(
                "alter database {0} set deadlock_timeout = '20ms';"
                "alter database {0} set lock_timeout = '30s';"
                "alter database {0} set timezone = 'UTC'"
            ).format(sql.Identifier(self.watch.conn.info.dbname))
        )
        with self.watch.conn.transaction():
            self.watch.conn.execute(_BUILDERS.read_bytes())

    # -- sessions

    def session(self, role: str | None = "booking_app") -> Session:
        made = Session(self.url, role)
        self._sessions.append(made)
        return made

    def sessions(self, count: int, role: str | None = "booking_app") -> list[Session]:
        return [self.session(role) for _ in range(count)]

    def close(self) -> None:
        """End every session, then ask the server whether any of them ran into a deadlock."""
        for each in self._sessions:
            each.close()
        try:
            # A backend reports its deadlocks when it goes, at the latest.
            self.wait(
                "select from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()"
                " and backend_type = 'client backend' having count(*) = 0"
            )
            found = self.value("select deadlocks from pg_stat_database where datname = current_database()")
            assert self.harmed or found == 0, "sessions ran into a deadlock"
        finally:
            self.watch.close()

    # -- questions

    def one(self, query: Query, params: Mapping[str, Any] | None = None) -> Row:
        row = self.watch.conn.execute(query, params).fetchone()
        assert row is not None, query
        return row

    def all(self, query: Query, params: Mapping[str, Any] | None = None) -> list[Row]:
        return self.watch.conn.execute(query, params).fetchall()

    def run(self, query: Query, params: Mapping[str, Any] | None = None) -> None:
        self.watch.conn.execute(query, params)

    def value(self, query: Query, params: Mapping[str, Any] | None = None) -> Any:
        return next(iter(self.one(query, params).values()))

    def wait(self, query: Query, params: Mapping[str, Any] | None = None, *, what: str = "") -> None:
        """Ask until there is a row; between the questions the time passes inside the server."""
        for _ in range(self.patience):
            if self.watch.conn.execute(query, params).fetchone() is not None:
                return
            self.watch.conn.execute("select pg_sleep(0.005)")
        raise AssertionError(what or f"never came true: {query}")

    def blocked_by(self, session: Session) -> set[int]:
        """Process ids of the sessions that this one waits for."""
        return set(self.value("select pg_blocking_pids(%(pid)s)", {"pid": session.pid}))

    def wait_blocked(self, session: Session, by: Session, running: Future[Outcome] | None = None) -> None:
        """Wait until the server says that `session` waits for `by`; fails when it has finished instead."""
        for _ in range(self.patience):
            if by.pid in self.blocked_by(session):
                return
            assert running is None or not running.done(), f"it did not wait: {running and running.result()}"
            self.watch.conn.execute("select pg_sleep(0.002)")
        raise AssertionError("it never waited")

    def settle(self, session: Session, running: Future[Outcome]) -> bool:
        """Wait until a statement has either finished (false) or waits for a lock (true)."""
        for _ in range(self.patience):
            if running.done():
                return False
            if self.blocked_by(session):
                return True
            self.watch.conn.execute("select pg_sleep(0.001)")
        raise AssertionError("it neither finishes nor waits")

    def wait_all_waiting(self, sessions: Sequence[Session]) -> None:
        """Wait until every one of these sessions waits for a lock."""
        self.wait(
            "select from pg_stat_activity where pid = any(%(pids)s) and wait_event_type = 'Lock'"
            " having count(*) = %(count)s",
            {"pids": [each.pid for each in sessions], "count": len(sessions)},
            what="not all of them came to wait",
        )

    def invariants(self) -> list[Row]:
        return self.all("select * from booking.check_invariants()")

    def assert_sound(self) -> None:
        """Everything that must hold between the tables does, and no event failed."""
        assert self.invariants() == []
        assert self.all("select * from booking.webhook_events where status = 'failed'") == []

    # -- what is on offer

    def slot(
        self, *, capacity: int = 1, hours: float = 48, confirmation: str = "expert", amount: int = 5000
    ) -> UUID:
        found: UUID = self.value(
            "select test.make_slot(%(h)s * interval '1 hour', %(c)s, %(m)s, p_amount => %(a)s)",
            {"h": hours, "c": capacity, "m": confirmation, "a": amount},
        )
        return found

    def fill(self, slot: UUID, count: int) -> None:
        """So many strangers take seats."""
        self.run("select test.book(%(slot)s) from generate_series(1, %(n)s)", {"slot": slot, "n": count})

    def bookings_of(self, slot: UUID) -> list[Row]:
        return self.all("select * from booking.bookings where slot_id = %(slot)s order by id", {"slot": slot})

    def seats_taken(self, slot: UUID) -> int:
        return int(self.value("select test.seats_taken(%(slot)s)", {"slot": slot}))


@contextmanager
def arena(url: str) -> Iterator[Arena]:
    made = Arena(url)
    try:
        yield made
    finally:
        made.close()


def new_name(prefix: str) -> str:
    return f"{prefix}-r{next(_numbers)}"


BOOK = "select * from booking.create_booking_transaction(p_student_id => %(student)s, p_slot_id => %(slot)s)"
BOOK_WITH_KEY = (
    "select * from booking.create_booking_transaction(p_student_id => %(student)s, p_slot_id => %(slot)s,"
    " p_idempotency_key => %(key)s)"
)
CANCEL = (
    "select * from booking.cancel_booking_transaction(p_actor_id => %(who)s, p_booking_id => %(booking)s)"
)
CLEANUP = "select booking.cleanup_expired_bookings(p_timeout => '30 minutes') as count"


def results(running: Iterable[Future[Outcome]]) -> list[Outcome]:
    return [each.result(timeout=120) for each in running]


def mutate(connection: psycopg.Connection[Any], file: str, old: str, new: str) -> None:
    """Load a function of db/functions with one piece of its text replaced, as somebody might break it."""
    text = (ROOT / "db" / "functions" / file).read_text()
    assert old in text, f"{file} has changed: the guard is not there any more"
    connection.execute(text.replace(old, new).encode())
