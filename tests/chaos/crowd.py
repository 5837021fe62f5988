"""Many connections at once, driven by one thread: each sends its next statement as soon as it has its answer.

Sessions begin behind a gate. The server says that every one of them waits there, then the gate opens; so they
really start together, and no time is measured to make them.
"""

from __future__ import annotations

import selectors
import time
from collections.abc import Generator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg import pq
from psycopg.pq import abc
from psycopg.rows import dict_row
from psycopg.sql import quote

from tests.chaos.scenario import require

Row = dict[str, str | None]
GATE = 64_000
"""The advisory lock that is the gate."""


@dataclass(frozen=True)
class Answer:
    """What a statement came to: its last rows, as text, or the error. It was carried out between the two
    times, which are of one clock, the server's and ours."""

    sent: float
    heard: float
    rows: tuple[Row, ...] = ()
    sqlstate: str = ""
    message: str = ""
    detail: str = field(default="", compare=False)

    @property
    def code(self) -> str:
        """'ok', or the refusal: 'PT409 slot_unavailable'."""
        return f"{self.sqlstate} {self.message}" if self.sqlstate else "ok"

    @property
    def row(self) -> Row:
        (found,) = self.rows
        return found


Script = Generator[str, Answer, None]
"""What a person does: yields a statement, gets its answer, and so on."""


class Member:
    """One connection; nothing it does waits for the answer."""

    def __init__(self, url: str, role: str) -> None:
        self.conn = pq.PGconn.connect(f"{url}?options=-crole%3D{role}".encode())
        if self.conn.status != pq.ConnStatus.OK:
            raise psycopg.OperationalError(self.conn.error_message.decode())
        self.pid = self.conn.backend_pid
        self._script: Script | None = None

    def close(self) -> None:
        self.conn.finish()

    def begin(self, script: Script, *, behind_gate: bool) -> None:
        """Send the first statement, to be carried out when the gate opens or at once."""
        self._script = script
        self._send(next(script), behind_gate)

    def has_answer(self) -> bool:
        """Whether its last statement is finished."""
        self.conn.consume_input()
        return not self.conn.is_busy()

    def hear(self) -> bool:
        """Read what has come; whether the script is at its end."""
        if not self.has_answer():
            return False
        assert self._script is not None
        try:
            self._send(self._script.send(self._answer()), False)
        except StopIteration:
            self._script = None
            return True
        return False

    def _send(self, statement: str, behind_gate: bool) -> None:
        gate = f"select pg_advisory_xact_lock_shared({GATE});" if behind_gate else ""
        # One implicit transaction; the clock is read before the statement itself begins.
        text = f"{gate}select extract(epoch from clock_timestamp()) as at; {statement}"
        self._sent = time.time()
        self.conn.send_query(text.encode())

    def _answer(self) -> Answer:
        sent, error = self._sent, None
        rows: tuple[Row, ...] = ()
        while (result := self.conn.get_result()) is not None:
            if result.status == pq.ExecStatus.TUPLES_OK:
                rows = tuple(_row(result, number) for number in range(result.ntuples))
                if rows and "at" in rows[0]:
                    sent, rows = float(rows[0]["at"] or 0), ()
            elif result.status != pq.ExecStatus.COMMAND_OK:
                error = result
        heard = time.time()
        if error is None:
            return Answer(sent, heard, rows)
        state, message, detail = (
            (error.error_field(name) or b"").decode()
            for name in (
                pq.DiagnosticField.SQLSTATE,
                pq.DiagnosticField.MESSAGE_PRIMARY,
                pq.DiagnosticField.MESSAGE_DETAIL,
            )
        )
        return Answer(sent, heard, (), state, message, detail)


def _row(result: abc.PGresult, number: int) -> Row:
    row: Row = {}
    for column in range(result.nfields):
        name, value = result.fname(column), result.get_value(number, column)
        row[(name or b"").decode()] = value.decode() if value is not None else None
    return row


class Crowd:
    """Connections of the application's role, some of the maintenance's, and one that keeps the gate."""

    def __init__(self, url: str, members: int, sweepers: int) -> None:
        self._stack = ExitStack()
        self.members = [self._member(url, "booking_app") for _ in range(members)]
        self.sweepers = [self._member(url, "booking_cron") for _ in range(sweepers)]
        self.keeper: psycopg.Connection[dict[str, Any]] = psycopg.connect(
            url, autocommit=True, row_factory=dict_row
        )
        self._stack.callback(self.keeper.close)

    def _member(self, url: str, role: str) -> Member:
        made = Member(url, role)
        self._stack.callback(made.close)
        return made

    def close(self) -> None:
        self._stack.close()

    def run(self, scripts: Sequence[tuple[Member, Script]], *, held: str = "") -> None:
        """Carry the scripts out, all from the same moment.

        `held`: what the keeper does and rolls back when everybody is seen waiting: they then wait for the
        locks of that instead of the gate.
        """
        with self.keeper.transaction(force_rollback=True):
            self.keeper.execute("select pg_advisory_xact_lock(%s)", (GATE,))
            if held:
                self.keeper.execute(held.encode())
            for member, script in scripts:
                member.begin(script, behind_gate=not held)
            self._wait_until_waiting([member for member, _ in scripts])
        busy = {member for member, _ in scripts}
        give_up = time.monotonic() + 60
        with selectors.DefaultSelector() as selector:
            for member in busy:
                selector.register(member.conn.socket, selectors.EVENT_READ, member)
            while busy:
                require(time.monotonic() < give_up, f"{len(busy)} of {len(scripts)} do not finish")
                for key, _ in selector.select(1):
                    if key.data.hear():
                        busy.discard(key.data)
                        selector.unregister(key.fileobj)

    def _wait_until_waiting(self, members: Sequence[Member]) -> None:
        """Until the server says that each of them waits for a lock."""
        give_up = time.monotonic() + 60
        pids = [member.pid for member in members]
        while True:
            row = self.keeper.execute(
                "select count(*) as waiting from pg_stat_activity"
                " where pid = any(%s) and wait_event_type = 'Lock'",
                (pids,),
            ).fetchone()
            # The view is a snapshot of the transaction otherwise.
            self.keeper.execute("select pg_stat_clear_snapshot()")
            if row is not None and row["waiting"] == len(pids):
                return
            hasty = [member for member in members if member.has_answer()]
            require(not hasty, f"{len(hasty)} got an answer without waiting for locks that decide it")
            require(time.monotonic() < give_up, "not all of them came to the gate")
            time.sleep(0.002)


def literal(value: Any) -> str:
    """A value as it stands in a statement."""
    return quote(value)
