"""POST /api/admin/reconcile."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from glue.routes import reconcile
from tests.py.http.site import Row, Site, refused

PATH = "/api/admin/reconcile"


def window(hours: float = 1) -> Row:
    now = datetime.now(UTC)
    ends = (now - timedelta(hours=hours), now + timedelta(hours=hours))
    return {name: f"{end:%Y-%m-%dT%H:%M:%SZ}" for name, end in zip(("from", "to"), ends, strict=True)}


@pytest.fixture(autouse=True)
def _no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconcile, "PATIENCE", 0.0)


def test_an_administrator_compares_the_books(site: Site) -> None:
    student = site.new_student()
    _, intent = site.authorized(student)
    other = site.book(student)
    unpaid = site.intent(student, other)
    site.control.set_webhook(None)
    site.customer.v1.payment_intents.cancel(intent["paymentIntentId"])

    answer = site.person("ada", "admin").post(PATH, window(), headers={"X-Request-Id": "req-reconcile"})

    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert [(row["kind"], row["stripeId"], row["ours"], row["theirs"]) for row in body["differences"]] == [
        ("status", intent["paymentIntentId"], "authorized", "canceled")
    ]
    assert unpaid["paymentIntentId"] not in answer.text
    assert {name: body[name] for name in ("paymentIntents", "charges", "refunds", "pending", "settled")} == {
        "paymentIntents": 2, "charges": 1, "refunds": 0, "pending": 0, "settled": 0,
    }  # fmt: skip
    trail = site.sql.execute(
        "select action, actor, request_id from booking.audit_trail(p_subject => %s)", (body["runId"],)
    ).fetchall()
    assert [tuple(row.values()) for row in trail] == [
        ("reconciliation.begun", "ada", "req-reconcile"),
        ("reconciliation.finished", "ada", "req-reconcile"),
    ]


@pytest.mark.parametrize("role", ["student", "expert"])
def test_nobody_else_may(lasting_site: Site, role: str) -> None:
    with lasting_site.unchanged():
        somebody = lasting_site.person("somebody", role)  # type: ignore[arg-type]
        refused(somebody.post(PATH, window()), 403, "forbidden")
        refused(lasting_site.nobody().post(PATH, window()), 401, "missing_token")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "from"),
        ({"from": "2026-11-01T00:00:00Z"}, "to"),
        ({"from": "x", "to": "2026-11-01T00:00:00Z"}, "from"),
        ({"from": "2026-11-02T00:00:00Z", "to": "2026-11-01T00:00:00Z"}, "to"),
        ({**window(), "more": 1}, "more"),
    ],
)
def test_a_window_that_is_none_is_refused(lasting_site: Site, body: Row, field: str) -> None:
    with lasting_site.unchanged():
        answer = lasting_site.person("ada", "admin").post(PATH, body)
        assert refused(answer, 400, "invalid_request")["field"] == field


def test_a_window_before_all_time_is_empty(site: Site) -> None:
    window_of_old = {"from": "0328-01-21T17:22:21Z", "to": "1969-12-31T23:59:59Z"}
    answer = site.person("ada", "admin").post(PATH, window_of_old)
    assert answer.status_code == 200, answer.text
    assert answer.json()["differences"] == []


def test_too_large_a_window_is_refused(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconcile, "BUDGET", 0.0)
    answer = site.person("ada", "admin").post(PATH, window())
    assert refused(answer, 400, "window_too_large")["field"] == "to"


def test_stripe_away_is_503(site: Site) -> None:
    site.control.fault("503", times=100, path_regex=r"^/v1/")
    answer = site.person("ada", "admin").post(PATH, window())
    refused(answer, 503, "stripe_unavailable")
    assert answer.headers["Retry-After"]
