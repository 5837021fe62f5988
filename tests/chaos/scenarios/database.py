"""PostgreSQL killed while people book and pay: what was acknowledged is there, the unknown is asked again."""

from __future__ import annotations

import itertools
import os
import random
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import requests
from psycopg.rows import dict_row

from glue.embedded import Cluster
from tests.chaos.cases import CAPTURE, REFUND, OfBooking
from tests.chaos.place import Place
from tests.chaos.scenario import Control, Scenario, Violation, require, spread
from tests.chaos.stage import Stage, fresh
from tests.pg.servers import running_server
from tests.py.mirror.world import Booking, Row

IMMEDIATE, POSTMASTER, BACKEND = "immediate stop", "SIGKILL of the postmaster", "SIGKILL of a backend"
ANY_TIME, UNANSWERED = "any time", "committed, not answered"
KINDS = list(product((IMMEDIATE, POSTMASTER, BACKEND), (ANY_TIME, UNANSWERED)))
CLIENTS = 6
_numbers = itertools.count(1)

SETTINGS = {
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_commit": "on",
    # Commits take as long as on a slow disk: so it is in their middle that most sessions are met.
    "commit_delay": "3000",
    "commit_siblings": "1",
}


@dataclass
class Wish:
    """A student wants a seat, under a key; `told` is the booking that an answer of 201 named."""

    student: str
    key: str
    told: UUID | None = None


@dataclass
class Crowd:
    """What the clients wished until the database went away, and what they were told."""

    slot: UUID
    wishes: list[Wish] = field(default_factory=list)
    decisions: list[tuple[OfBooking, Booking]] = field(default_factory=list)
    gone: threading.Event = field(default_factory=threading.Event)

    @property
    def answered(self) -> int:
        return sum(wish.told is not None for wish in self.wishes)


class Hall(Stage):
    """A stage on a server of its own."""

    cluster: Cluster

    def ask_seat(self, crowd: Crowd, wish: Wish) -> requests.Response:
        return self.person(wish.student).post(
            "/api/bookings/create", {"slotId": str(crowd.slot)}, headers={"Idempotency-Key": wish.key}
        )

    def hold_answers(self) -> None:
        """Commits reach the disk and are answered no more: they wait for a second server that is not there.
        Until some wait; nobody does where commits do not even wait for the disk."""
        if self.sql.execute(
            "select from pg_settings where name = 'synchronous_commit' and setting = 'off'"
        ).rowcount:
            return
        self.sql.execute("alter system set synchronous_standby_names = 'nobody'")
        self.sql.execute("select pg_reload_conf()")
        give_up = time.monotonic() + 60
        while not self.sql.execute(WAITING).fetchall():
            require(time.monotonic() < give_up, "no commit waits for its answer")
        self.sql.execute("alter system reset synchronous_standby_names")  # what the next start will find

    def kill(self, way: str, rng: random.Random) -> None:
        if way == IMMEDIATE:
            self.cluster.stop("immediate")
            return
        waiting, serving = ([row["pid"] for row in self.sql.execute(query)] for query in (WAITING, SERVING))
        postmaster = int((self.cluster.data / "postmaster.pid").read_text().splitlines()[0])
        pid = rng.choice(waiting or serving) if way == BACKEND else postmaster
        os.kill(pid, signal.SIGKILL)
        # on a busy machine it takes a moment to die, and start() would take it for a running server
        give_up = time.monotonic() + 60
        while Path(f"/proc/{pid}/exe").exists():
            require(time.monotonic() < give_up, f"process {pid} survives SIGKILL")
            time.sleep(0.001)

    def restart(self, way: str) -> None:
        """What an operating system does with a service that died; a lost backend PostgreSQL mends itself."""
        if way == BACKEND:
            with suppress(psycopg.OperationalError):
                while True:  # until PostgreSQL has noticed, and ends every session
                    self.sql.execute("select pg_sleep(0.005)")
        else:
            self.cluster.start()
        self.sql.close()
        self.sql = connected(self.url)
        self.sql.execute("select pg_reload_conf()")
        # Our own pool would wait a second before it tries again; the server's is left to itself.
        self.db.close()
        self.db = self.new_db()
        self.mirror = self.new_mirror()

    def wait_until_served(self) -> float:
        """Seconds until the server, which nobody restarts, serves again."""
        began = time.monotonic()
        while requests.get(f"{self.survivor.url}/readyz", timeout=30).status_code != 200:
            require(time.monotonic() < began + 60, "the server does not serve again")
            time.sleep(0.01)
        return time.monotonic() - began


SERVING = (
    "select pid from pg_stat_activity"
    " where datname = current_database() and application_name = 'pgbooking-http'"
)
WAITING = SERVING + " and wait_event = 'SyncRep'"
OF_A_SLOT = "select * from booking.bookings where slot_id = %s"


def own_port() -> int:
    """A free port that no outgoing connection is given while the server is down."""
    for port in random.SystemRandom().sample(range(20_000, 32_000), 100):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise RuntimeError("there is no free port")


def connected(url: str) -> psycopg.Connection[Row]:
    """A connection, as soon as the server lets anybody in again."""
    give_up = time.monotonic() + 60
    while True:
        try:
            return psycopg.connect(url, autocommit=True, row_factory=dict_row)
        except psycopg.OperationalError as error:
            require(time.monotonic() < give_up, f"PostgreSQL does not come back: {error}")
            time.sleep(0.01)


class Database(Scenario[Hall]):
    title = "PostgreSQL killed during commits: immediate stop, SIGKILL of the postmaster or of a backend"
    tries = 300
    short = 2
    per_stage = 30
    controls = (
        Control(
            "a commit is answered when it is on disk",
            sql=(
                "alter system set synchronous_commit = 'off'",
                "alter system set wal_writer_delay = '10s'",
                "select pg_reload_conf()",
            ),
            tries=12,
        ),
        Control(
            "a request that is repeated is known by its key",
            edits=(
                (
                    "bookings/create_booking_transaction.sql",
                    "if p_idempotency_key is not null then",
                    "if false then",
                ),
            ),
            tries=8,
        ),
    )

    def __init__(self) -> None:
        self._counts = {"acknowledged": 0, "unknown": 0, "unknown and committed": 0}
        self._recovery: list[float] = []

    @contextmanager
    def stage(self, place: Place, removed: Control | None) -> Iterator[Hall]:
        with running_server(18, SETTINGS, own_port()) as cluster:
            own = Place(cluster.url(), sandbox=place.sandbox)
            with fresh(Hall, own, removed) as made:
                made.cluster = cluster
                try:
                    yield made
                finally:
                    cluster.start()
                    connected(cluster.url()).close()

    def attempt(self, stage: Hall, number: int, rng: random.Random) -> str:
        way, moment = spread(KINDS, number)
        stage.kind = f"{way}, {moment}"
        crowd = Crowd(stage.slot(1000))
        crowd.decisions = [(case, case.before(stage)) for case in (CAPTURE, REFUND, CAPTURE)]
        stage.sql.execute("checkpoint")  # what was there before is safe, whatever guard is missing
        with ThreadPoolExecutor(CLIENTS + 1) as clients:
            work = [clients.submit(book_on, stage, crowd) for _ in range(CLIENTS)]
            told = clients.submit(decide_on, stage, crowd)
            enough = rng.randrange(1, 30)
            while crowd.answered < enough:
                time.sleep(0.001)
            if moment == UNANSWERED:
                stage.hold_answers()
            else:
                time.sleep(rng.uniform(0, 0.02))
            stage.kill(way, rng)
            crowd.gone.set()
            stage.restart(way)
            for each in work:
                each.result()
        self._recovery.append(stage.wait_until_served())
        self.ask_again(stage, crowd, told.result())
        stage.heal()
        for case, booking in crowd.decisions:
            case.require_effect(stage, booking)
        require_seats(stage, crowd)
        stage.require_sound()
        return stage.kind

    def ask_again(self, stage: Hall, crowd: Crowd, told: int) -> None:
        """Every client repeats its request: the told get what they were told, the others one booking, too."""
        there = {row["student_id"] for row in stage.sql.execute(OF_A_SLOT, (crowd.slot,))}
        for wish in crowd.wishes:
            require(wish.told is None or wish.student in there, "an acknowledged booking is lost")
            self._counts["acknowledged"] += wish.told is not None
            self._counts["unknown"] += wish.told is None
            self._counts["unknown and committed"] += wish.told is None and wish.student in there
            answer = asked_patiently(partial(stage.ask_seat, crowd, wish))
            require(answer.status_code == 201, f"a repeated request was refused: {answer.text}")
            found = UUID(answer.json()["bookingId"])
            require(wish.told in (None, found), "a repeated request got another booking")
            wish.told = found
        for number, (case, booking) in enumerate(crowd.decisions):
            if number < told:
                status = stage.booking(booking)["status"]
                require(status in ("confirmed", "cancelled"), f"an acknowledged decision is lost: {status}")
            answer = asked_patiently(partial(case.ask, stage, booking))
            decided = answer.status_code == 409 and answer.json()["error"]["code"] == "already_processed"
            require(answer.status_code == 200 or decided, f"refused: {answer.text}")

    def facts(self) -> dict[str, Any]:
        waits = sorted(self._recovery) or [0.0]
        return {
            **self._counts,
            "seconds until the server serves again, median": round(waits[len(waits) // 2], 3),
            "seconds until the server serves again, longest": round(waits[-1], 3),
        }


def asked_patiently(ask: Callable[[], requests.Response]) -> requests.Response:
    """The answer, asked for again as long as it is 503: the database may still be mending itself."""
    give_up = time.monotonic() + 60
    while True:
        answer = ask()
        if answer.status_code != 503 or time.monotonic() > give_up:
            return answer
        time.sleep(0.05)


def book_on(stage: Hall, crowd: Crowd) -> None:
    """Books seats for one student after the other until the database is gone."""
    while not crowd.gone.is_set():
        number = next(_numbers)
        wish = Wish(f"guest-{number}", f"key-{number}")
        crowd.wishes.append(wish)
        try:
            answer = stage.ask_seat(crowd, wish)
        except requests.RequestException:
            return
        if answer.status_code == 201:
            wish.told = UUID(answer.json()["bookingId"])
        elif answer.status_code < 500:
            raise Violation(f"a seat was refused: {answer.text}")


def decide_on(stage: Hall, crowd: Crowd) -> int:
    """Experts confirm and a student cancels; how many of them were answered 200."""
    for number, (case, booking) in enumerate(crowd.decisions):
        try:
            answer = case.ask(stage, booking)
        except requests.RequestException:
            return number
        if answer.status_code != 200:
            return number
    return len(crowd.decisions)


def require_seats(stage: Hall, crowd: Crowd) -> None:
    """One live booking for each student, and none that nobody wished for."""
    rows = stage.sql.execute(OF_A_SLOT, (crowd.slot,)).fetchall()
    ours = {wish.student: wish.told for wish in crowd.wishes}
    require(len(rows) == len(ours), f"{len(rows)} bookings of {len(ours)} students")
    require({row["student_id"]: row["id"] for row in rows} == ours, "bookings are not those that were told")


SCENARIO = Database
