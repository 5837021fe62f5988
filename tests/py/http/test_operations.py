"""Probes, metrics, maintenance by cron, figures, and what happens when the database is away."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
import requests

from glue import schemas
from glue.errors import ApiError
from glue.metrics import Metrics
from glue.routes.cron import clean_up, require_secret
from glue.sandbox.process import SandboxProcess
from tests.pg.away import Cut
from tests.py.http.site import CRON, CRON_SECRET, PRICE, Site, an_event, refused


@contextmanager
def database_away(site: Site, pg_url: str) -> Iterator[None]:
    """Nobody gets in, and whoever was in is thrown out."""
    with psycopg.connect(pg_url, autocommit=True) as admin:
        away = Cut(admin, site.sql.info.dbname, site.sql.info.backend_pid)
        away.cut()
        pool = site.db._pool
        patience, pool.timeout = pool.timeout, 0.3
        try:
            yield
        finally:
            pool.timeout = patience
            away.mend()


def test_while_the_database_is_away_every_route_is_503_and_works_again_at_once(
    site: Site, pg_url: str
) -> None:
    student, offer = site.new_student(), site.offer()
    booking = site.book(student, offer)
    expert, admin = site.person(offer.expert, "expert"), site.person("a", "admin")
    send = {"bookingId": booking["bookingId"]}
    with database_away(site, pg_url):
        for response in (
            student.post("/api/bookings/create", {"slotId": str(offer.slot)}),
            student.post("/api/payment/create-intent", send),
            expert.post("/api/bookings/expert/confirm", send | {"action": "confirm"}),
            student.get(f"/api/bookings/{booking['bookingId']}"),
            admin.get("/api/admin/stats"),
            site.deliver(an_event()),
            site.nobody(f"Bearer {CRON_SECRET}").post(CRON),
            site.nobody().get("/readyz"),
        ):
            refused(response, 503, "database_unavailable")
            assert response.headers["Retry-After"] == "2"
        assert site.nobody().get("/healthz").status_code == 200
    assert student.get(f"/api/bookings/{booking['bookingId']}").status_code == 200
    assert site.intent(student, booking)["clientSecret"]


def test_after_a_restart_of_the_database_no_request_is_lost(site: Site) -> None:
    student = site.new_student()
    for _ in range(3):
        assert student.get("/api/bookings").status_code == 200
    site.sql.execute(
        "select pg_terminate_backend(pid, 5000) from pg_stat_activity"
        " where datname = current_database() and pid <> pg_backend_pid()"
    )
    assert [student.get("/api/bookings").status_code for _ in range(5)] == [200] * 5


def test_health_tells_of_the_process_only(site: Site) -> None:
    assert site.nobody().get("/healthz").json() == {"status": "ok"}


def test_readiness_tells_of_database_migrations_and_outbox(site: Site) -> None:
    response = site.nobody().get("/readyz")
    assert response.status_code == 200
    assert response.json() == {
        "status": "ready", "database": "ok", "migrations": "ok", "outbox": "ok",
        "commandsPending": 0, "commandsDead": 0, "oldestPendingSeconds": 0,
    }  # fmt: skip


def test_a_stuck_outbox_is_not_ready(db_url: str, sandbox: SandboxProcess) -> None:
    with Site(db_url, sandbox, outbox_stuck_seconds=900).open() as site:
        offer = site.offer()
        booking, _ = site.authorized(site.new_student(), offer)
        site.control.fault("503", times=1000)
        site.person(offer.expert, "expert").post(
            "/api/bookings/expert/confirm", {"bookingId": booking["bookingId"], "action": "confirm"}
        )
        assert site.nobody().get("/readyz").json()["commandsPending"] == 1
        site.sql.execute("update booking.stripe_commands set created_at = created_at - interval '20 minutes'")
    with Site(db_url, sandbox, outbox_stuck_seconds=900).open() as later:
        details = refused(later.nobody().get("/readyz"), 503, "not_ready")
        assert details == {"failing": "outbox", "commandsPending": 1, "commandsDead": 0}


def test_a_database_without_our_schema_is_not_ready(empty_db_url: str, sandbox: SandboxProcess) -> None:
    with Site(empty_db_url, sandbox).open() as site:
        for _ in range(2):
            assert refused(site.nobody().get("/readyz"), 503, "not_ready") == {"failing": "migrations"}


@pytest.mark.parametrize("missing", ["index booking.bookings_due", "table booking.stripe_commands"])
def test_a_database_with_an_older_schema_is_not_ready(site: Site, missing: str) -> None:
    site.sql.execute(f"drop {missing} cascade".encode())
    assert refused(site.nobody().get("/readyz"), 503, "not_ready")["failing"] == "migrations"


def test_probes_ask_the_database_at_most_every_two_seconds(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    one = type(site.db).one

    def counted(db: Any, statement: Any, params: Any = None) -> Any:
        asked.append(statement)
        return one(db, statement, params)

    monkeypatch.setattr(type(site.db), "one", counted)
    for _ in range(10):
        assert site.nobody().get("/readyz").status_code == 200
    assert len(asked) < 10


def test_metrics_are_off_until_they_are_asked_for(site: Site) -> None:
    refused(site.nobody().get("/metrics"), 404, "not_found")


def test_metrics_count_requests_webhooks_and_commands(
    db_url: str, sandbox: SandboxProcess, pg_url: str
) -> None:
    with Site(db_url, sandbox, metrics_enabled=True).open() as site:
        student = site.new_student()
        booking = site.book(student)
        student.get(f"/api/bookings/{booking['bookingId']}")
        student.post("/api/bookings/cancel", {"bookingId": booking["bookingId"]})
        student.get("/x/" + booking["bookingId"])
        requests.request("BREW", site.base + "/healthz", timeout=120)
        site.deliver(an_event())
        response = site.nobody().get("/metrics")
        assert response.headers["Content-Type"].startswith("text/plain")
        lines = response.text.splitlines()
        route = (
            'pgbooking_http_requests_total{method="GET",route="/api/bookings/<booking:id>",status="200"} 1.0'
        )
        assert route in lines
        assert 'pgbooking_http_requests_total{method="GET",route="unmatched",status="404"} 1.0' in lines
        assert 'pgbooking_webhooks_total{result="ignored"} 1.0' in lines
        assert 'pgbooking_mirrored_total{state="done"} 1.0' in lines
        assert "pgbooking_commands_pending 0.0" in lines
        assert "pgbooking_database_up 1.0" in lines
        assert 'method="other",route="unmatched",status="405"' in response.text
        assert booking["bookingId"] not in response.text
        assert "BREW" not in response.text
    with Site(db_url, sandbox, metrics_enabled=True).open() as site, database_away(site, pg_url):
        assert "pgbooking_database_up 0.0" in site.nobody().get("/metrics").text


def test_the_metrics_of_all_processes_are_read_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = "from glue.metrics import Metrics; Metrics().webhook('processed')"
    env = os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    for _ in range(2):
        subprocess.run([sys.executable, "-c", count], env=env, check=True, timeout=120)
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    lines = Metrics().render(None).decode().splitlines()
    assert 'pgbooking_webhooks_total{result="processed"} 2.0' in lines


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer ", "Bearer wrong", f"Basic {CRON_SECRET}", CRON_SECRET, "Bearer é"]
)
def test_without_the_cron_secret_nothing_runs(lasting_site: Site, header: str) -> None:
    for send in (lasting_site.nobody(header).get, lasting_site.nobody(header).post):
        with lasting_site.unchanged():
            response = send(CRON)
            refused(response, 401, "invalid_cron_secret")
        assert "WWW-Authenticate" in response.headers


def test_asking_for_headers_runs_nothing(lasting_site: Site) -> None:
    with lasting_site.unchanged():
        response = requests.head(
            lasting_site.base + CRON, headers={"Authorization": f"Bearer {CRON_SECRET}"}, timeout=120
        )
    assert response.status_code == 405
    assert set(response.headers["Allow"].split(", ")) == {"GET", "POST", "OPTIONS"}


def test_an_unset_cron_secret_lets_nobody_in() -> None:
    with pytest.raises(ApiError):
        require_secret("", "Bearer ")


def test_a_users_token_is_no_cron_secret(site: Site) -> None:
    refused(site.person("a", "admin").post(CRON), 401, "invalid_cron_secret")


def test_cron_cancels_what_expired_and_its_hold_is_released(site: Site) -> None:
    student = site.new_student()
    booking, _ = site.authorized(student)
    many = site.offer(capacity=200)
    past = [site.book(site.new_student(), many) for _ in range(150)]
    site.sql.execute("set session_replication_role = replica")
    site.sql.execute("update booking.bookings set created_at = created_at - interval '1 hour'")
    for method in ("get", "post"):
        response = getattr(site.nobody(f"Bearer {CRON_SECRET}"), method)(CRON)
        assert response.status_code == 200
        counts = response.json()
        assert set(counts) == {field.alias for field in schemas.Cleanup.model_fields.values()}
        assert counts["bookingsExpired"] == (len(past) + 1 if method == "get" else 0)
    assert site.booking(booking)["status"] == "cancelled"
    assert site.booking(booking)["cancelled_by"] == "system"
    [command] = site.sql.execute("select operation from booking.stripe_commands").fetchall()
    assert command["operation"] == "cancel_payment_intent"


def test_cron_leaves_a_booking_the_time_that_it_was_promised(site: Site) -> None:
    site.sql.execute("update booking.settings set booking_timeout = '2 hours'")
    booking = site.book(site.new_student())
    site.sql.execute("set session_replication_role = replica")
    for age, status in (("1 hour", "pending"), ("2 hours", "cancelled")):
        site.sql.execute("update booking.bookings set created_at = booking.clock() - %s::interval", (age,))
        assert site.nobody(f"Bearer {CRON_SECRET}").post(CRON).status_code == 200
        assert site.booking(booking)["status"] == status


def test_cron_stops_between_batches_when_its_time_is_over(site: Site) -> None:
    many = site.offer(capacity=200)
    for _ in range(101):
        site.book(site.new_student(), many)
    site.sql.execute("set session_replication_role = replica")
    site.sql.execute("update booking.bookings set created_at = created_at - interval '1 hour'")
    assert clean_up(site.db, until=0)["bookings_expired"] == 100
    assert clean_up(site.db, until=0)["bookings_expired"] == 1


def test_the_administrator_reads_the_figures(site: Site) -> None:
    student, offer = site.new_student(), site.offer()
    booking, _ = site.authorized(student, offer)
    site.person(offer.expert, "expert").post(
        "/api/bookings/expert/confirm", {"bookingId": booking["bookingId"], "action": "confirm"}
    )
    site.book(site.new_student())
    admin = site.person("boss", "admin")
    body = admin.get("/api/admin/stats").json()
    assert set(body) == {field.alias for field in schemas.Stats.model_fields.values()}
    assert (body["totalBookings"], body["confirmed"], body["pending"]) == (2, 1, 1)
    assert body["capturedAmounts"] == {"eur": PRICE}
    assert body["confirmationRate"] == 0.5
    assert body["avgConfirmationTime"] > 0
    window = {"from": "2020-01-01T00:00:00Z", "to": "2020-01-02T00:00:00Z"}
    assert admin.get("/api/admin/stats", params=window).json()["totalBookings"] == 0
    wrong = admin.get("/api/admin/stats", params={"from": window["to"], "to": window["from"]})
    assert refused(wrong, 400, "invalid_request")["field"] == "to"
