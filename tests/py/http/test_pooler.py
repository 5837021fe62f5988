"""The server behind PgBouncer in transaction mode: each statement may meet another server process."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

import psycopg
import pytest

from glue.sandbox.process import SandboxProcess
from glue.worker import connect_for_maintenance
from tests.pg.pooler import running_pooler
from tests.py.http.site import SERVER_ROLE, Site, as_server

CONNECTIONS = 3
"""Of PgBouncer to the server; our pool has 16 to PgBouncer."""


@pytest.fixture
def pooled(db_url: str, sandbox: SandboxProcess) -> Iterator[Site]:
    """A site whose pool leads to PgBouncer. What it asks for at connecting is not heard."""
    as_server(db_url)
    settings = "ignore_startup_parameters = options,extra_float_digits\n"
    with (
        running_pooler(
            db_url, "transaction", role=SERVER_ROLE, connections=CONNECTIONS, settings=settings
        ) as url,
        Site(db_url, sandbox, database_url=url).open() as site,
    ):
        yield site


def test_many_at_once_book_pay_confirm_and_cancel(pooled: Site) -> None:
    offers = [pooled.offer() for _ in range(40)]
    students = [pooled.new_student() for _ in offers]
    with ThreadPoolExecutor(8) as pool:
        bookings = list(pool.map(pooled.book, students, offers))
        intents = list(pool.map(pooled.intent, students, bookings))
        for intent in intents[:10]:
            pooled.pay(intent)
        experts = [pooled.person(offer.expert, "expert") for offer in offers[:10]]
        confirmed = list(
            pool.map(
                lambda expert, booking: (
                    expert.post(
                        "/api/bookings/expert/confirm",
                        {"bookingId": booking["bookingId"], "action": "confirm"},
                    ).status_code
                ),
                experts,
                bookings,
            )
        )
        cancelled = list(
            pool.map(
                lambda student, booking: (
                    student.post("/api/bookings/cancel", {"bookingId": booking["bookingId"]}).status_code
                ),
                students[10:],
                bookings[10:],
            )
        )
    assert (confirmed, cancelled) == ([200] * 10, [200] * 30)
    assert pooled.sql.execute("select * from booking.check_invariants()").fetchall() == []
    states = pooled.sql.execute(
        "select b.status::text, count(*) from booking.bookings b group by 1 order by 1"
    ).fetchall()
    assert [(row["status"], row["count"]) for row in states] == [("cancelled", 30), ("confirmed", 10)]
    backends = pooled.sql.execute(
        "select count(*) from pg_stat_activity a"
        " where a.datname = current_database() and a.pid <> pg_backend_pid()"
    ).fetchone()
    assert backends is not None
    assert backends["count"] <= CONNECTIONS


def test_times_mean_the_same_in_the_time_zone_of_the_login(pooled: Site) -> None:
    """That of a session is lost with the other options."""
    pooled.sql.execute(
        f"alter role postgres in database {pooled.sql.info.dbname} set timezone = 'Asia/Kolkata'"
    )
    offer = pooled.offer()
    booking = pooled.book(pooled.new_student(), offer)
    found = pooled.sql.execute(
        "select s.starts_at from booking.slots s where s.id = %s", (offer.slot,)
    ).fetchone()
    assert found is not None
    assert datetime.fromisoformat(booking["scheduledAt"]) == found["starts_at"]


def test_maintenance_does_not_take_its_lead_from_a_pooler(pooled: Site) -> None:
    with pytest.raises(psycopg.OperationalError, match="the server's own address"):
        connect_for_maintenance(pooled.settings)
