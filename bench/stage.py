"""Where figures are taken: a PostgreSQL server that loses nothing, and databases of a known content."""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import psycopg
from psycopg import sql

from glue import deploy
from glue.embedded import Cluster, embedded_bin_dir

SETUP = Path(__file__).parent / "setup.sql"
TEMPLATE = f"bench_{os.getpid()}_template"

SETTINGS: Mapping[str, str] = {
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "shared_buffers": f"{min(psutil.virtual_memory().total * 2 // 5, 10 * 2**30) // 2**20}MB",
    "max_connections": "200",
    "max_wal_size": "16GB",
    "checkpoint_timeout": "30min",
    "autovacuum": "on",
    "jit": "off",
    "log_min_duration_statement": "-1",
    "log_lock_waits": "off",
}
"""Nothing is switched off that keeps data safe. Checkpoints are far apart: they would hit one side only.
shared_buffers: what ten million bookings need, up to two fifths of the memory; more is unlikely to help, says
PostgreSQL's documentation."""

PART = 500_000
BIG = ("booking.slots", "booking.slot_seats", "booking.bookings", "booking.booking_events")
LOADING = (
    "set session_replication_role = replica; set maintenance_work_mem = '1GB'; set synchronous_commit = off"
)

SHOWN = ("server_version", *SETTINGS)


class Stage:
    """A server, and databases that are clones of one with everything deployed."""

    def __init__(self, url: str) -> None:
        self._url = url.rpartition("/")[0]
        self._made: list[str] = []
        self._names = itertools.count(1)
        self._shops: dict[int, Database] = {}

    def database(self, template: str = "") -> Database:
        """A fresh database, deployed and with the tools of setup.sql; or a copy of another one."""
        if not template and TEMPLATE not in self._made:
            self._create(TEMPLATE, "template0")
            deploy.migrate(f"{self._url}/{TEMPLATE}")
            with psycopg.connect(f"{self._url}/{TEMPLATE}", autocommit=True) as connection:
                connection.execute(SETUP.read_bytes())
                connection.execute("call bench.load_experts()")
        name = f"bench_{os.getpid()}_{next(self._names)}"
        self._create(name, template or TEMPLATE)
        return Database(f"{self._url}/{name}", name, self)

    def shop(self, bookings: int, *, pending: int, groups: int) -> Database:
        """A shop (see setup.sql) that is loaded once a run: whoever reads finds the bookings that whoever
        cleans has left. Not to be dropped."""
        if bookings not in self._shops:
            made = self.database()
            made.load_shop(bookings, pending=pending, groups=groups)
            self._shops[bookings] = made
        return self._shops[bookings]

    def settings(self) -> dict[str, str]:
        """As the server says they are."""
        with psycopg.connect(f"{self._url}/postgres") as connection:
            return {name: str(_one(connection, f"show {name}")) for name in SHOWN}

    def drop(self, name: str) -> None:
        """Gone, whoever is connected."""
        self._made.remove(name)
        self._run(sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name)))

    def close(self) -> None:
        """Leave nothing behind."""
        for name in [*self._made]:
            self.drop(name)

    def _create(self, name: str, template: str) -> None:
        self._run(sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name)))
        self._run(
            sql.SQL("create database {} template {} strategy file_copy").format(
                sql.Identifier(name), sql.Identifier(template)
            )
        )
        self._made.append(name)

    def _run(self, statement: sql.Composed) -> None:
        with psycopg.connect(f"{self._url}/postgres", autocommit=True) as connection:
            connection.execute(statement)


class Database:
    """One of the stage's databases."""

    def __init__(self, url: str, name: str, stage: Stage) -> None:
        self.url = url
        self.name = name
        self._stage = stage

    def run(self, *statements: str) -> None:
        """As superuser, each in a transaction of its own."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement.encode())

    def load(self, *statements: str) -> None:
        """As run(), without triggers, and with everything added up, vacuumed and written afterwards."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute("set session_replication_role = replica")
            for statement in statements:
                connection.execute(statement.encode())
            connection.execute("select booking.rebuild_stat_periods()")
        self.settle()

    def load_shop(self, bookings: int, *, pending: int = 0, groups: int = 1, students: int = 20_000) -> None:
        """A shop of that many bookings, as setup.sql says. Ten million take minutes: two connections at once,
        and indexes afterwards."""
        now = self.value("select now()::text")
        starts = range(0, bookings, PART)
        parts = [
            f"timestamptz '{now}', {first}, {min(PART, bookings - first)}, {pending}" for first in starts
        ]
        self.run(
            "call bench.undress()", *(f"alter table {name} set (autovacuum_enabled = off)" for name in BIG)
        )
        self._side_by_side(
            [f"call bench.load_shop_slots({part})" for part in parts],
            [f"call bench.load_shop_bookings({part}, {groups}, {students})" for part in parts],
        )
        with psycopg.connect(self.url, autocommit=True) as connection:
            kept = connection.execute(
                "select u.tab, u.statement from bench.undressed u order by u.place"
            ).fetchall()
        foreign = [text for _, text in kept if "FOREIGN KEY" in text]
        ours = [text for table, text in kept if text not in foreign and "slot" in table]
        theirs = [text for _, text in kept if text not in foreign and text not in ours]
        self._side_by_side(ours, theirs)
        self._side_by_side(
            ["vacuum (analyze) booking.slots", "vacuum (analyze) booking.slot_seats"],
            ["vacuum (analyze) booking.bookings", "vacuum (analyze) booking.booking_events"],
        )
        self._side_by_side(["call bench.load_shop_stats()", "select booking.rebuild_stat_periods()"], foreign)
        self.run("vacuum analyze booking.stat_hours", "vacuum analyze booking.stat_periods")
        self.run(*(f"alter table {name} reset (autovacuum_enabled)" for name in BIG), "checkpoint")

    def _side_by_side(self, *sides: Sequence[str]) -> None:
        """Each side's statements in order, on a connection of its own without triggers."""

        def work(statements: Sequence[str]) -> None:
            with psycopg.connect(self.url, autocommit=True) as connection:
                connection.execute(LOADING.encode())
                for statement in statements:
                    connection.execute(statement.encode())

        with ThreadPoolExecutor(len(sides)) as pool:
            for _ in pool.map(work, sides):
                pass

    def settle(self) -> None:
        """Vacuumed, analyzed and written out: whoever is measured next does not pay for what was before."""
        self.run("vacuum analyze", "checkpoint")

    def value(self, statement: str) -> Any:
        """The one value that a query gives."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            return _one(connection, statement)

    def require_sound(self) -> None:
        """Speed that was bought with wrong books does not count."""
        with psycopg.connect(self.url) as connection:
            wrong = connection.execute("select * from booking.check_invariants() limit 5").fetchall()
        if wrong:
            raise RuntimeError(f"the books are wrong afterwards: {wrong}")

    def drop(self) -> None:
        """Gone."""
        self._stage.drop(self.name)


def _one(connection: psycopg.Connection[Any], statement: str) -> Any:
    row = connection.execute(statement.encode()).fetchone()
    return row[0] if row else None


@contextmanager
def own_server(folder: Path | None = None) -> Iterator[Stage]:
    """A server of its own, on a disk (not in memory, where a commit costs nothing), gone afterwards."""
    place = Path(tempfile.mkdtemp(prefix="pgbooking-bench-", dir=folder))
    cluster = Cluster(place, settings=SETTINGS, auth="trust")
    stage = None
    try:
        cluster.start()
        stage = Stage(cluster.url())
        yield stage
    finally:
        cluster.stop("immediate")
        shutil.rmtree(place, ignore_errors=True)


@contextmanager
def given_server(url: str) -> Iterator[Stage]:
    """One that runs already, as superuser; its settings stay as they are."""
    stage = Stage(url)
    try:
        yield stage
    finally:
        stage.close()


def program(name: str) -> str:
    """pgbench and psql of PostgreSQL 18, which speak to older servers too."""
    return str(embedded_bin_dir() / name)
