"""How often, how much, and under which headers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import requests
from flask.testing import FlaskClient
from limits.storage import MemoryStorage

from glue.app import create_app
from glue.front import BUSY
from glue.limits import Limits
from glue.sandbox.process import SandboxProcess
from glue.settings import Settings
from tests.py.http.site import CRON, CRON_SECRET, Site, an_event, base_env, refused

pytestmark = pytest.mark.pg18  # limits are the server's, whatever the database

BOOKINGS = "/api/bookings"


class Shared(MemoryStorage):
    """Stands for Redis."""

    is_away = False

    def incr(self, *arguments: Any, **named: Any) -> int:
        if self.is_away:
            raise ConnectionError
        return super().incr(*arguments, **named)


def limited(db_url: str, sandbox: SandboxProcess, most: int, **changes: Any) -> Site:
    return Site(db_url, sandbox, rate_limit_max_requests=most, rate_limit_window_ms=60_000, **changes)


def test_somebody_who_asks_too_often_waits_and_others_do_not(db_url: str, sandbox: SandboxProcess) -> None:
    with limited(db_url, sandbox, 3).open() as site:
        eager, other = site.new_student(), site.new_student()
        assert [eager.get(BOOKINGS).status_code for _ in range(3)] == [200] * 3
        response = eager.get("/api/slots")
        refused(response, 429, "rate_limited")
        assert 1 <= int(response.headers["Retry-After"]) <= 61
        assert other.get(BOOKINGS).status_code == 200


def test_payments_are_limited_to_a_tenth(db_url: str, sandbox: SandboxProcess) -> None:
    with limited(db_url, sandbox, 20).open() as site:
        student = site.new_student()
        booking = site.book(student)
        for _ in range(2):
            site.intent(student, booking)
        with site.unchanged():
            response = student.post("/api/payment/create-intent", {"bookingId": booking["bookingId"]})
            refused(response, 429, "rate_limited")
        assert student.get(BOOKINGS).status_code == 200


@pytest.mark.parametrize(
    "path", ["/api/bookings", "/api/refunds", "/api/admin/refunds", "/api/invoices", "/api/admin/stats"]
)
def test_whatever_is_not_a_probe_is_limited(db_url: str, sandbox: SandboxProcess, path: str) -> None:
    with limited(db_url, sandbox, 1).open() as site:
        somebody = site.person("somebody", "admin")
        assert somebody.get(path).status_code != 429
        refused(somebody.get(path), 429, "rate_limited")


def test_payments_are_possible_under_the_smallest_limit(db_url: str, sandbox: SandboxProcess) -> None:
    with limited(db_url, sandbox, 5).open() as site:
        student = site.new_student()
        assert site.intent(student, site.book(student))["clientSecret"]


def test_webhooks_may_come_ten_times_as_often_by_address(db_url: str, sandbox: SandboxProcess) -> None:
    with limited(db_url, sandbox, 1).open() as site:
        assert [site.deliver(an_event()).status_code for _ in range(10)] == [200] * 10
        with site.unchanged():
            refused(site.deliver(an_event()), 429, "rate_limited")


def test_whoever_has_no_valid_token_is_counted_by_address(db_url: str, sandbox: SandboxProcess) -> None:
    with limited(db_url, sandbox, 2, trusted_proxies=1).open() as site:

        def ask(address: str) -> int:
            headers = {"X-Forwarded-For": address, "Authorization": "Bearer nonsense"}
            return requests.get(site.base + BOOKINGS, headers=headers, timeout=120).status_code

        assert [ask("198.51.100.1") for _ in range(3)] == [401, 401, 429]
        assert ask("198.51.100.2") == 401
        # an IPv6 network is one household
        assert [ask(f"2001:db8:0:1::{n}") for n in range(1, 4)] == [401, 401, 429]
        assert ask("2001:db8:0:2::1") == 401
        assert [ask("nowhere") for _ in range(3)] == [401, 401, 429]


def test_guessing_the_cron_secret_is_limited(db_url: str, sandbox: SandboxProcess) -> None:
    with limited(db_url, sandbox, 2).open() as site:
        guesses = [site.nobody(f"Bearer guess-{n}").post(CRON).status_code for n in range(3)]
        assert guesses == [401, 401, 429]
        refused(site.nobody(f"Bearer {CRON_SECRET}").post(CRON), 429, "rate_limited")


def test_probes_are_not_limited(db_url: str, sandbox: SandboxProcess) -> None:
    with limited(db_url, sandbox, 1).open() as site:
        assert [site.nobody().get("/healthz").status_code for _ in range(5)] == [200] * 5
        assert [site.nobody().get("/readyz").status_code for _ in range(5)] == [200] * 5


def test_when_the_storage_of_the_limits_is_away_they_are_kept_in_memory(
    db_url: str, sandbox: SandboxProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("glue.limits.storage_from_string", lambda _: Shared())
    with limited(db_url, sandbox, 2, rate_limit_storage_uri="redis://x").open() as site:
        student = site.new_student()
        assert [student.get(BOOKINGS).status_code for _ in range(3)] == [200, 200, 429]
        refused(student.get(BOOKINGS), 429, "rate_limited")
        storage = site.app.extensions["limits"].storage
        assert list(storage.storage.values()) == [4]
        storage.is_away = True
        assert [student.get(BOOKINGS).status_code for _ in range(3)] == [200, 200, 429]


def test_every_answer_has_the_security_headers(site: Site) -> None:
    student = site.new_student()
    for response in (student.get(BOOKINGS), student.get("/nothing"), site.nobody().get("/healthz")):
        headers = response.headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["X-Frame-Options"] == "DENY"
        assert headers["Cache-Control"] == "no-store"
        assert headers["Content-Security-Policy"] == "default-src 'none'; frame-ancestors 'none'"
        assert "Strict-Transport-Security" not in headers


def test_behind_https_the_browser_is_told_to_stay_there(db_url: str, sandbox: SandboxProcess) -> None:
    with Site(db_url, sandbox, trusted_proxies=1).open() as site:
        headers = {"X-Forwarded-Proto": "https"}
        response = requests.get(site.base + "/healthz", headers=headers, timeout=120)
        assert response.headers["Strict-Transport-Security"] == "max-age=31536000"


def test_a_sane_request_id_is_kept_and_another_replaced(site: Site) -> None:
    def answered(given: str) -> str:
        headers = {"X-Request-Id": given} if given else {}
        return requests.get(site.base + "/healthz", headers=headers, timeout=120).headers["X-Request-Id"]

    assert answered("order-12345.abc_DEF") == "order-12345.abc_DEF"
    for bad in ("", "short", "x" * 129, "with space 123", "<script>alert(1)"):
        assert answered(bad) != bad
        assert len(answered(bad)) == 32


@pytest.fixture
def without_database() -> Iterator[FlaskClient]:
    app = create_app(Settings.from_env(base_env("postgresql://nobody@127.0.0.1:9/nothing")))
    with app.test_client() as client:
        yield client
    app.extensions["pgbooking"].db.close()
    app.extensions["pgbooking"].mirror.close()
    app.extensions["pgbooking"].gateway.close()


def test_the_application_starts_while_the_database_is_away(without_database: FlaskClient) -> None:
    assert without_database.get("/healthz").status_code == 200


def test_who_has_waited_too_long_for_a_turn_is_told_to_come_again(without_database: FlaskClient) -> None:
    response = without_database.post("/api/bookings/create", json={}, environ_overrides={BUSY: True})
    assert (response.status_code, response.headers["Retry-After"]) == (503, "2")
    assert response.json is not None
    assert response.json["error"]["code"] == "server_busy"


def waits(limits: Limits, who: str, times: int) -> list[int | None]:
    """Whole seconds; two calls are allowed."""
    found = [limits.hit("api", who, 2) for _ in range(times)]
    return [None if wait is None else round(wait) for wait in found]


def test_a_window_begins_with_the_first_call_of_each() -> None:
    now = 100.0
    limits = Limits("memory://", 60, clock=lambda: now)
    assert waits(limits, "eager", 3) == [None, None, 60]
    assert limits.hit("payments", "eager", 2) is None
    now = 130.0
    assert limits.hit("api", "other", 1) is None
    assert (waits(limits, "eager", 1), waits(limits, "other", 2)) == ([30], [None, 60])
    now = 160.0
    assert waits(limits, "eager", 3) == [None, None, 60]


def test_a_storage_that_was_away_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    now, storage = 100.0, Shared()
    monkeypatch.setattr("glue.limits.storage_from_string", lambda _: storage)
    limits = Limits("redis://x", 3600, clock=lambda: now)
    storage.is_away = True
    assert [limits.hit("api", "eager", 1) is None for _ in range(2)] == [True, False]
    storage.is_away = False
    assert limits.hit("api", "eager", 1) is not None
    now = 111.0
    assert [limits.hit("api", "eager", 1) is None for _ in range(2)] == [True, False]
