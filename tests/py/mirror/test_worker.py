"""Workers: alone, together, stopped, killed, and without a database."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg.sql import SQL, Identifier

from glue.mirror import Mirror
from glue.settings import Settings
from glue.worker import Maintenance, Worker, connect_for_maintenance
from tests.py.mirror.world import KEY, World, wait_until

CAPTURE = r"/capture$"
ALL_DONE = "select from booking.stripe_commands having bool_and(status = 'done')"


class Heard(logging.Handler):
    """What was logged, with an event for the message that a test waits for."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[str] = []
        self._changed = threading.Condition()

    def emit(self, record: logging.LogRecord) -> None:
        with self._changed:
            self.messages.append(record.getMessage())
            self._changed.notify_all()

    def wait_for(self, message: str, *, last: bool = False) -> None:
        """Until it was said; `last`: and nothing else about the database after it."""

        def is_heard() -> bool:
            return message in (self.about_the_database()[-1:] if last else self.messages)

        with self._changed:
            assert self._changed.wait_for(is_heard, 120), self.messages

    def about_the_database(self) -> list[str]:
        return [message for message in self.messages if message.startswith("the database")]


@pytest.fixture
def heard() -> Iterator[Heard]:
    handler = Heard()
    log = logging.getLogger("glue.worker")
    level = log.level
    log.setLevel(logging.INFO)
    log.addHandler(handler)
    yield handler
    log.removeHandler(handler)
    log.setLevel(level)


@contextmanager
def in_thread(run: Callable[[threading.Event], None]) -> Iterator[threading.Event]:
    stop = threading.Event()
    thread = threading.Thread(target=run, args=(stop,))
    thread.start()
    try:
        yield stop
    finally:
        stop.set()
        thread.join()


def worker(here: World, mirror: Mirror | None = None, **options: Any) -> Worker:
    return Worker(here.db, mirror or here.mirror, **{"poll": 0.01, "min_age": 0, **options})


def decided(here: World) -> UUID:
    """A capture that Stripe has to be told of."""
    return here.confirm(here.authorized())


def settings(here: World) -> Settings:
    return Settings.from_env(environment(here), role="worker")


def environment(here: World) -> dict[str, str]:
    return {"DATABASE_URL": here.url, "STRIPE_SECRET_KEY": KEY, "STRIPE_API_BASE": here.stripe_url}


AT_THE_WORST_MOMENT = """
import os, signal, threading, types
import glue.worker

class Stop(threading.Event):
    def wait(self, timeout=None):
        if threading.current_thread() is threading.main_thread():
            with self._cond:  # as in the first step of waiting
                os.kill(os.getpid(), signal.SIGTERM)
                for _ in range(1000):  # steps between which a handler may run
                    pass
        return super().wait(timeout)

glue.worker.threading = types.SimpleNamespace(**{**vars(threading), "Event": Stop})
"""


class TestOutbox:
    def test_several_workers_and_fifty_commands_each_once(self, here: World) -> None:
        commands = [decided(here) for _ in range(50)]
        mirrors = [here.new_mirror(here.new_gateway()) for _ in range(4)]
        runs = [in_thread(worker(here, mirror, batch=5).run) for mirror in mirrors]
        for run in runs:
            run.__enter__()
        wait_until(here.sql, ALL_DONE)
        for run in runs:
            run.__exit__(None, None, None)
        keys = [row["idempotency_key"] for row in here.control.requests(path=CAPTURE)]
        assert sorted(keys) == sorted(str(command) for command in commands)
        assert {row["attempts"] for row in here.commands()} == {1}
        here.deliver()
        here.assert_books_equal()

    def test_a_fresh_command_is_left_to_the_server_that_made_it(self, here: World) -> None:
        command = decided(here)
        assert here.mirror.claim_due(limit=10, min_age=6) == []
        here.sql.execute("update booking.stripe_commands set created_at = created_at - interval '7 s'")
        (claim,) = here.mirror.claim_due(limit=10, min_age=6)
        assert claim.command_id == command

    def test_stopping_finishes_the_command_in_hand_and_begins_no_other(self, here: World) -> None:
        first = decided(here)
        here.control.barrier("capture", path_regex=CAPTURE)
        stopped = worker(here, batch=1)
        with in_thread(stopped.run) as stop:
            here.control.wait_barrier("capture")
            second = decided(here)
            stop.set()
            here.control.release_barrier("capture")
        assert here.command(first)["status"] == "done"
        assert here.command(second)["attempts"] == 0

    def test_a_slow_call_holds_up_nobody_else(self, here: World) -> None:
        slow = decided(here)
        here.control.barrier("capture", path_regex=CAPTURE, idempotency_key=str(slow))
        with in_thread(worker(here, batch=2).run):
            here.control.wait_barrier("capture")
            for _ in range(3):
                decided(here)
            wait_until(
                here.sql,
                "select from booking.stripe_commands having count(*) filter (where status = 'done') = 3",
            )
            assert here.command(slow)["status"] == "running"
            here.control.release_barrier("capture")

    def test_a_refund_that_a_capture_brings_about_is_picked_up(self, here: World) -> None:
        booking = here.authorized(hours=10)
        here.confirm(booking)
        here.control.barrier("capture", when="after", path_regex=CAPTURE)
        with in_thread(worker(here).run):
            here.control.wait_barrier("capture")
            here.cancel(booking)
            here.control.release_barrier("capture")
            wait_until(here.sql, "select from booking.refunds")
            wait_until(here.sql, ALL_DONE)
        here.deliver()
        here.assert_books_equal()

    def test_a_database_that_goes_away_is_said_once_and_waited_for(self, here: World, heard: Heard) -> None:
        db = here.new_db(acquire_timeout=2)  # a loaded machine needs more than moments to connect
        patient = Worker(db, here.new_mirror(db=db), poll=0.01, min_age=0, roll_up=3600)
        patient._roll_up_when_due()  # now, and not while the test runs: it would say the same
        with in_thread(patient.run):
            with here.away() as back:
                back.cut()
                heard.wait_for("the database does not serve")
            command = decided(here)
            wait_until(here.sql, ALL_DONE)
            heard.wait_for(
                "the database serves again", last=True
            )  # a second connection may meet the cut, too
        assert here.command(command)["attempts"] == 1
        about = heard.about_the_database()
        assert about[0] == "the database does not serve"
        assert len(about) <= 6  # never a line for each try

    def test_statistics_that_fail_are_said_once_and_hold_up_no_command(
        self, here: World, heard: Heard
    ) -> None:
        here.sql.execute("drop function booking.roll_up_stats() cascade")
        command = decided(here)
        with in_thread(worker(here, roll_up=0.01).run):
            heard.wait_for("the database does not serve")
            wait_until(here.sql, ALL_DONE)
        assert here.command(command)["attempts"] == 1
        assert heard.messages.count("the database does not serve") == 1

    def test_the_statistics_are_rolled_up(self, here: World) -> None:
        here.book()
        assert here.sql.execute("select from booking.stat_deltas").fetchone() is not None
        with in_thread(worker(here, roll_up=0.01).run):
            wait_until(here.sql, "select from booking.stat_deltas having count(*) = 0")


class TestProcess:
    """`pgbooking worker` as the operating system sees it."""

    @contextmanager
    def started(self, here: World, before: str = "", **env: str) -> Iterator[subprocess.Popen[bytes]]:
        script = (
            f"{before}\nimport os; from glue.settings import Settings; from glue.worker import main;"
            "main(Settings.from_env(os.environ, role='worker'))"
        )
        process = subprocess.Popen(
            [sys.executable, "-c", script], env={**os.environ, **environment(here), **env}
        )
        try:
            yield process
        finally:
            process.kill()
            process.wait()

    def at_the_barrier(self, here: World, when: str) -> UUID:
        command = decided(here)
        here.sql.execute("update booking.stripe_commands set created_at = created_at - interval '7 s'")
        here.control.barrier("capture", when=when, path_regex=CAPTURE)
        return command

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_a_signal_lets_the_command_in_hand_finish(self, here: World, number: signal.Signals) -> None:
        command = self.at_the_barrier(here, "before")
        with self.started(here) as process:
            here.control.wait_barrier("capture", timeout=120)
            process.send_signal(number)
            here.control.release_barrier("capture")
            assert process.wait(120) == 0
        assert here.command(command)["status"] == "done"
        assert here.effects(CAPTURE) == 1

    def test_a_signal_while_the_main_thread_holds_the_lock_of_what_it_waits_for(self, here: World) -> None:
        with self.started(here, AT_THE_WORST_MOMENT) as process:
            assert process.wait(120) == 0

    @pytest.mark.parametrize("when", ["before", "after"])
    def test_a_killed_worker_leaves_a_lease_and_the_next_one_finishes_with_the_same_key(
        self, here: World, when: str
    ) -> None:
        command = self.at_the_barrier(here, when)
        with self.started(here) as process:
            here.control.wait_barrier("capture", timeout=120)
            process.kill()
            process.wait()
        here.control.release_barrier("capture")
        assert here.command(command)["status"] == "running"
        assert here.mirror.claim_due(limit=10, min_age=0) == []
        here.lapse_leases()
        here.drain()
        assert here.command(command)["outcome"] == "applied"
        assert here.effects(CAPTURE) == 1
        assert {row["idempotency_key"] for row in here.control.requests(path=CAPTURE)} == {str(command)}
        here.assert_books_equal()

    @pytest.fixture
    def login(self, here: World) -> Iterator[str]:
        """URL of a role that may what a worker must."""
        name = Identifier(f"worker_of_{here.sql.info.dbname}")
        here.sql.execute(SQL("create role {} login in role booking_app, booking_cron").format(name))
        yield here.url.replace("//postgres@", f"//worker_of_{here.sql.info.dbname}@")
        here.sql.execute(SQL("drop role {}").format(name))

    def test_with_the_rights_of_app_and_cron_it_runs_commands_and_keeps_house(
        self, here: World, login: str
    ) -> None:
        booking = here.book()
        here.sql.execute("update booking.bookings set created_at = created_at - interval '1 hour'")
        command = self.at_the_barrier(here, "before")
        with self.started(here, DATABASE_URL=login) as process:
            here.control.wait_barrier("capture", timeout=120)
            here.control.release_barrier("capture")
            wait_until(here.sql, ALL_DONE)
            wait_until(here.sql, "select from booking.bookings where status = 'cancelled'")
            process.terminate()
            assert process.wait(120) == 0
        assert here.booking(booking)["cancellation_reason"] == "expired"
        assert here.command(command)["outcome"] == "applied"


class TestMaintenance:
    @contextmanager
    def keeper(self, here: World, **options: Any) -> Iterator[Maintenance]:
        made = Maintenance(lambda: connect_for_maintenance(settings(here)), **options)
        yield made
        made.close()

    def replace(self, here: World, function: str, body: str) -> None:
        """Let a function of the maintenance do something else."""
        query: Any = (
            f"create or replace function booking.{function} language plpgsql as $$ begin {body} end $$"
        )
        here.sql.execute(query)

    def test_one_worker_of_all_runs_it_at_once_and_then_every_interval(self, here: World) -> None:
        times = [0.0]
        with (
            self.keeper(here, interval=900, clock=lambda: times[0]) as first,
            self.keeper(here, interval=900, clock=lambda: times[0]) as second,
        ):
            assert first.tick()
            assert not second.tick()
            assert not first.tick()
            times[0] = 899
            assert not first.tick()
            times[0] = 900
            here.sql.execute(
                "update booking.maintenance_runs set last_run_at = last_run_at - interval '900 s'"
            )
            assert first.tick()
            assert not second.tick()

    def test_when_the_one_dies_another_takes_over(self, here: World) -> None:
        with self.keeper(here, interval=0) as first, self.keeper(here, interval=0) as second:
            assert first.tick()
            assert not second.tick()
            here.sql.execute(
                "select pg_terminate_backend(pid, 5000) from pg_locks"
                " where locktype = 'advisory' and database ="
                " (select oid from pg_database where datname = current_database())"
            )
            assert second.tick()

    def test_where_somebody_else_runs_it_no_worker_does(self, here: World) -> None:
        here.sql.execute("call booking.run_maintenance()")
        with self.keeper(here, interval=900) as keeper:
            assert not keeper.tick()

    def test_a_part_that_fails_is_said_and_costs_nobody_the_lead(self, here: World, heard: Heard) -> None:
        self.replace(here, "cleanup_orphaned_slots() returns int", "raise exception 'broken';")
        with self.keeper(here, interval=0) as keeper, self.keeper(here) as other:
            assert keeper.tick()
            assert keeper.tick()
            assert not other.tick()
        assert heard.messages == ["maintenance has failed", "maintenance has failed"]

    def test_a_database_that_goes_away_is_said_once_and_waited_for(self, here: World, heard: Heard) -> None:
        with self.keeper(here, interval=0.01, poll=0.01) as keeper, in_thread(keeper.run):
            heard.wait_for("maintenance has run")
            with here.away() as back:
                back.cut()
                heard.wait_for("the database does not serve")
            heard.messages.remove("maintenance has run")
            heard.wait_for("the database serves again")
        assert heard.messages.count("the database does not serve") == 1

    def test_it_is_cut_off_when_the_worker_stops(self, here: World, heard: Heard) -> None:
        self.replace(here, "cleanup_orphaned_slots() returns int", "perform pg_advisory_lock(1); return 0;")
        here.sql.execute("select pg_advisory_lock(1)")
        with self.keeper(here) as keeper, in_thread(keeper.run) as stop:
            wait_until(
                here.sql,
                "select from pg_stat_activity where wait_event = 'advisory' and datname = current_database()",
            )
            stop.set()
            keeper.cancel()
        assert heard.messages == ["maintenance has failed"]
        keeper.cancel()  # with nothing running: no harm

    def test_its_session_has_no_statement_timeout_and_a_lock_timeout(self, here: World) -> None:
        with connect_for_maintenance(settings(here)) as session:
            row = session.execute(
                "select current_setting('statement_timeout'), current_setting('lock_timeout')"
            ).fetchone()
        assert row == ("0", "5s")
        assert isinstance(session, psycopg.Connection)
