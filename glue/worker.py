"""The outbox worker: takes up the commands that no request carried out, and keeps house where pg_cron is not.

It polls, because a NOTIFY in the hot functions would serialize their commits. Any number of workers may run:
the database hands each command to one of them. Durations are seconds.
"""

from __future__ import annotations

import logging
import os
import random
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, suppress
from functools import partial
from typing import Any

import psycopg

from glue import logs
from glue.db import Database, connection_string, is_pooled
from glue.mirror import Claim, Mirror, State
from glue.settings import Settings
from glue.signals import stopped_by_signals
from glue.stripe_gateway import StripeGateway

_log = logging.getLogger(__name__)

MAINTENANCE_LOCK = 7_206_353_401
"""Advisory lock of the one worker that keeps house. It belongs to a session: no transaction pooler here."""

_LONGEST_PAUSE = 30.0


class _Away:
    """Says once that the database is away, and once that it is back; spaces the tries in between."""

    def __init__(self, who: str, pause: float) -> None:
        self._who = who
        self._first = self._pause = pause
        self._away = False

    def failed(self, error: psycopg.Error) -> float:
        """Note a failure; the seconds to wait before the next try."""
        about = {"part": self._who, "error": type(error).__name__, "sqlstate": error.sqlstate}
        if not self._away:
            # The message of a connection error names host, port and role, never the password.
            _log.error("the database does not serve", extra={**about, "reason": str(error).strip()})
        self._away = True
        pause = self._pause * random.uniform(0.5, 1.0)  # noqa: S311
        self._pause = min(self._pause * 2, _LONGEST_PAUSE)
        return pause

    def succeeded(self) -> None:
        if self._away:
            _log.info("the database serves again", extra={"part": self._who})
        self._away = False
        self._pause = self._first


class Worker:
    """Polls the outbox every ``poll`` seconds and runs up to ``batch`` commands at once.

    Commands younger than ``min_age`` are left to the request that made them. Every ``roll_up`` seconds the
    statistics of the last moments are rolled up.
    """

    def __init__(
        self,
        db: Database,
        mirror: Mirror,
        *,
        poll: float = 1.0,
        batch: int = 10,
        min_age: float = 6.0,
        roll_up: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._db = db
        self._mirror = mirror
        self._poll = poll
        self._batch = batch
        self._min_age = min_age
        self._roll_up = roll_up
        self._clock = clock
        self._rolled_up = clock()
        self._claiming = _Away("outbox", poll)
        self._counting = _Away("statistics", roll_up)

    def run(self, stop: threading.Event) -> None:
        """Work until ``stop`` is set, then finish the commands in hand."""
        active: set[Future[State]] = set()
        _log.info("the worker polls the outbox", extra={"batch": self._batch, "poll": self._poll})
        with ThreadPoolExecutor(self._batch, thread_name_prefix="outbox") as pool:
            while not stop.is_set():
                try:
                    claims = self._claim(self._batch - len(active))
                except psycopg.Error as error:
                    stop.wait(self._claiming.failed(error))
                    continue
                self._claiming.succeeded()
                active |= {pool.submit(self._mirror.run_claimed, claim) for claim in claims}
                self._roll_up_when_due()
                if active:
                    # A slow call holds up nobody else: whoever is free takes the next command.
                    active = wait(active, self._poll, FIRST_COMPLETED).not_done
                else:
                    stop.wait(self._poll)
        _log.info("the worker has stopped")

    def _claim(self, free: int) -> list[Claim]:
        return self._mirror.claim_due(limit=free, min_age=self._min_age) if free else []

    def _roll_up_when_due(self) -> None:
        if self._clock() < self._rolled_up:
            return
        pause = self._roll_up
        try:
            self._db.scalar("select * from booking.roll_up_stats()", {})
            self._counting.succeeded()
        except psycopg.Error as error:
            pause = self._counting.failed(error)
        self._rolled_up = self._clock() + pause


class Maintenance:
    """Calls ``run_maintenance`` every ``interval`` seconds, unless somebody else (pg_cron) does.

    One worker of all leads: it holds an advisory lock for as long as its session lives, so another one takes
    over when it dies. ``connect`` opens an autocommit connection: the procedure commits between its batches.
    """

    def __init__(
        self,
        connect: Callable[[], psycopg.Connection[Any]],
        *,
        interval: float = 900.0,
        poll: float = 15.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._connect = connect
        self._interval = interval
        self._poll = min(poll, interval)
        self._clock = clock
        self._due = clock()
        self._session: psycopg.Connection[Any] | None = None
        self._away = _Away("maintenance", self._poll)

    def run(self, stop: threading.Event) -> None:
        """Keep house until ``stop`` is set; maintenance that runs then is cut off between two batches."""
        try:
            while not stop.is_set():
                pause = self._poll
                try:
                    self.tick()
                    self._away.succeeded()
                except psycopg.Error as error:
                    self.close()
                    pause = self._away.failed(error)
                stop.wait(pause)
        finally:
            self.close()

    def tick(self) -> bool:
        """Run the maintenance when it is due and ours. Whether it ran. Raises psycopg.Error."""
        if self._session is None:
            self._session = self._connect()
            leads = self._session.execute("select pg_try_advisory_lock(%s)", (MAINTENANCE_LOCK,)).fetchone()
            if not leads or not leads[0]:
                self.close()
                return False
        if self._clock() < self._due:
            return False
        self._due = self._clock() + self._interval
        # Somebody else may have run it meanwhile; a tenth less, so that no jitter makes us miss a turn.
        due = self._session.execute(
            "select * from booking.is_maintenance_due(p_interval => make_interval(secs => %s))",
            (self._interval * 0.9,),
        ).fetchone()
        if not due or not due[0]:
            return False
        try:
            self._session.execute("call booking.run_maintenance()")
        except psycopg.Error as error:
            if self._session.closed:
                raise
            # One part failed and the others have run, or we were told to stop: no reason to give up the lead.
            about = {"sqlstate": error.sqlstate, "detail": error.diag.message_detail}
            _log.error("maintenance has failed", extra=about)
        else:
            _log.info("maintenance has run")
        return True

    def cancel(self) -> None:
        """Cut off the statement that runs, from another thread."""
        session = self._session
        if session is not None:
            with suppress(psycopg.Error):
                session.cancel_safe(timeout=5)

    def close(self) -> None:
        """End the session, and with it the lead."""
        session, self._session = self._session, None
        if session is not None:
            session.close()


def main(settings: Settings) -> None:
    """Run a worker until SIGTERM or SIGINT, then finish the commands in hand. In the main thread only.

    Sets up this process's logging. Raises SettingsError when LOG_DIR cannot be written.
    """
    logs.configure(settings, name="pgbooking-worker")
    stop = threading.Event()
    # One thread a command, and a connection for each of them and for the claiming: nobody ever waits for one.
    batch = min(10, settings.max_concurrent_payments)
    with stopped_by_signals(stop.set), ExitStack() as cleanup:
        db = Database(
            settings.database_url,
            max_size=batch + 1,
            statement_timeout_ms=settings.statement_timeout_ms,
            lock_timeout_ms=settings.lock_timeout_ms,
            application_name="pgbooking worker",
        )
        cleanup.callback(db.close)
        gateway = StripeGateway(
            settings.stripe_secret_key,
            settings.stripe_api_base,
            max_concurrent=settings.max_concurrent_payments,
        )
        cleanup.callback(gateway.close)
        mirror = Mirror(db, gateway, f"{socket.gethostname()}:{os.getpid()}", threads=1)
        cleanup.callback(mirror.close)
        maintenance = Maintenance(
            partial(connect_for_maintenance, settings), interval=settings.maintenance_interval_seconds
        )
        keeping = threading.Thread(target=maintenance.run, args=(stop,), name="maintenance")
        keeping.start()
        try:
            Worker(db, mirror, batch=batch).run(stop)
        finally:
            stop.set()
            while keeping.is_alive():
                maintenance.cancel()
                keeping.join(0.5)


def connect_for_maintenance(settings: Settings) -> psycopg.Connection[Any]:
    """A session of its own without a statement timeout: a run of the maintenance may take minutes.

    Raises psycopg.OperationalError behind a pooler: the lead would stay with a server process that is lent to
    others, and so would the missing timeout.
    """
    session = psycopg.connect(
        connection_string(settings.database_url, "pgbooking maintenance"), autocommit=True
    )
    if is_pooled(session):
        session.close()
        raise psycopg.OperationalError("the worker needs the server's own address, this is a pooler's")
    session.execute("set statement_timeout = 0")
    session.execute("select set_config('lock_timeout', %s, false)", (str(settings.lock_timeout_ms),))
    return session
