"""docs/http-api.md says what the server does: its commands run as they stand, its list of routes is whole."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import flask
import pytest
from flask_openapi3.openapi import OpenAPI
from pytest_postgresql.executors import NoopExecutor

from glue import app as application
from glue.routes import documents, webhooks
from glue.sandbox.process import running
from glue.sandbox.signing import signature_header
from glue.settings import Settings
from tests.conftest import _clone, _url_of
from tests.py.http.site import CRON_SECRET, WEBHOOK_SECRET, Row, Site, base_env, token

pytestmark = pytest.mark.pg18  # what is written is the server's answer, whatever the database

FILE = Path(__file__).parents[3] / "docs" / "http-api.md"
TEXT = FILE.read_text()

# What /openapi.json leaves out: itself and the page that shows it.
DOCUMENTS = {("GET", "/openapi.json"), ("GET", "/docs")}

# Their numbers depend on what else has happened.
COUNTED = ("/api/admin/stats", "/api/admin/reconcile", "/api/cron/cleanup-bookings")


@dataclass(frozen=True)
class Example:
    """A command with the status and the answer (or else the content type) that are written under it."""

    line: int
    command: str
    status: int
    answer: Any
    content_type: str


def _examples() -> list[Example]:
    found = []
    for block in re.finditer(r"^```sh\n(.*?)^```", TEXT, re.S | re.M):
        line = TEXT.count("\n", 0, block.start(1)) + 1
        for part in re.finditer(r"((?:^[^#\n].*\n)+)((?:^#.*\n)+)", block[1], re.M):
            status, _, text = re.sub(r"^# ?", "", part[2], flags=re.M).strip().partition(" ")
            is_json = text.startswith("{")
            found.append(
                Example(
                    line + block[1].count("\n", 0, part.start()),
                    part[1],
                    int(status),
                    json.loads(text) if is_json else None,
                    "application/json" if is_json else text,
                )
            )
    return found


EXAMPLES = _examples()


class Reader:
    """Follows the document: runs a command in a shell, and keeps what the next ones need."""

    def __init__(self, site: Site, home: Path) -> None:
        self._site = site
        (home / ".curlrc").write_text('silent\nshow-error\nwrite-out = "\\n%{http_code} %{content_type}"\n')
        now = datetime.now(UTC)
        self._known = {
            "PATH": os.environ["PATH"],
            "CURL_HOME": str(home),
            "NO_PROXY": "*",
            "BASE": site.base,
            "STUDENT_TOKEN": token("student-1"),
            "EXPERT_TOKEN": token("expert-1", "expert"),
            "ADMIN_TOKEN": token("admin-1", "admin"),
            "FROM": f"{now:%Y-%m-%dT%H:%M:%SZ}",
            "TO": f"{now + timedelta(days=7):%Y-%m-%dT%H:%M:%SZ}",
            "CRON_SECRET": CRON_SECRET,
        }
        [a_class] = site.sql.execute("select id from booking.slots where confirmation = 'instant'").fetchall()
        self._known["CLASS"] = str(a_class["id"])

    def run(self, example: Example) -> tuple[int, str, str]:
        """Status, content type and body."""
        if "$SIGNATURE" in example.command:
            self._sign_an_event()
        done = subprocess.run(
            ["bash", "-euc", example.command],
            env=self._known,
            cwd=self._known["CURL_HOME"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{FILE.name}:{example.line}: {done.stderr}"
        body, _, outcome = done.stdout.rpartition("\n")
        status, _, content_type = outcome.partition(" ")
        return int(status), content_type, body

    def learn(self, answer: Row) -> None:
        """The ids in an answer; where it holds a client secret, the customer pays."""
        if slots := answer.get("slots"):
            self._known["SLOT"] = slots[0]["slotId"]
        if "bookingId" in answer:
            self._known["BOOKING"] = answer["bookingId"]
        if "paymentIntentId" in answer:
            self._known["INTENT"] = answer["paymentIntentId"]
        if invoices := answer.get("invoices"):
            self._known["INVOICE"] = invoices[-1]["invoiceId"]
        if "requestId" in answer and "error" not in answer:
            self._known["REQUEST"] = answer["requestId"]
        if "clientSecret" in answer:
            self._site.pay(answer)
        self._site.control.wait_idle()

    def _sign_an_event(self) -> None:
        [event] = self._site.control.events(type="payment_intent.amount_capturable_updated")
        body = json.dumps(event | {"id": "evt_of_the_document", "created": int(time.time())})
        self._known["EVENT"] = body
        self._known["SIGNATURE"] = signature_header(body.encode(), WEBHOOK_SECRET)


@pytest.fixture(scope="module")
def site(booking_template: NoopExecutor) -> Iterator[Site]:
    """A site with one slot and, later, a class on sale, and metrics."""
    with (
        _clone(booking_template) as janitor,
        running() as sandbox,
        Site(_url_of(janitor), sandbox, metrics_enabled=True).open() as opened,
    ):
        opened.offer(expert="expert-1")
        opened.offer(expert="expert-1", hours=240, capacity=30, confirmation="instant")
        opened.db.one(
            "select * from booking.create_product(p_product_id => 'course-1', p_name => 'SQL course',"
            " p_amount => 4900, p_currency => 'eur')"
        )
        yield opened


@pytest.fixture(scope="module")
def operations() -> set[tuple[str, str]]:
    """Method and path of all that /openapi.json lists."""
    settings = Settings.from_env({**base_env("postgresql://127.0.0.1:9/nothing"), "METRICS_ENABLED": "true"})
    app = application.create_app(settings)
    assert isinstance(app, OpenAPI)
    services = app.extensions["pgbooking"]
    for part in (services.mirror, services.gateway, services.db):
        part.close()
    paths = documents.document(app)["paths"]
    return {(method.upper(), path) for path, item in paths.items() for method in item}


def test_every_command_gets_the_answer_that_is_written_under_it(
    site: Site, operations: set[tuple[str, str]], tmp_path: Path
) -> None:
    assert len(EXAMPLES) == len(re.findall(r"^curl ", TEXT, re.M))
    reader = Reader(site, tmp_path)
    called = set()

    def note(sender: flask.Flask, **_: object) -> None:
        if rule := flask.request.url_rule:
            called.add((flask.request.method, re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule)))

    with flask.request_started.connected_to(note, site.app):
        for example in EXAMPLES:
            where = f"{FILE.name}:{example.line}"
            status, content_type, body = reader.run(example)
            assert status == example.status, f"{where}: {body}"
            assert content_type.startswith(example.content_type), where
            if example.answer is not None:
                answer = json.loads(body)
                counted = any(path in example.command for path in COUNTED)
                assert _form(answer, counted) == _form(example.answer, counted), where
                reader.learn(answer)
    assert operations | DOCUMENTS <= called


def test_the_document_names_exactly_the_routes_there_are(operations: set[tuple[str, str]]) -> None:
    named = set(re.findall(r"\b(GET|POST|PUT|PATCH|DELETE) (/[\w/{}.-]*\w\}?)", TEXT))
    assert named == operations | DOCUMENTS


def test_every_placeholder_is_explained() -> None:
    used = {name for example in EXAMPLES for name in re.findall(r"\$[A-Z_]+", example.command)}
    explained = set(re.findall(r"`(\$[A-Z_]+)`", TEXT.partition("\n## ")[0]))
    assert used == explained


def test_the_limits_are_those_of_the_code() -> None:
    settings = Settings.from_env({**base_env("postgresql://"), "RATE_LIMIT_MAX_REQUESTS": ""})
    assert settings.rate_limit_window_ms == 60_000
    most = settings.rate_limit_max_requests
    prose = " ".join(TEXT.split())
    for text in (
        f"{most} requests a minute",
        f"{most // 10} of payment routes",
        f"{most * 10} webhooks",
        f"a body has at most {application.API_BODY_LIMIT // 1024} KiB",
        f"a webhook {application.WEBHOOK_BODY_LIMIT // 1024**2} MiB",
        f"at most {webhooks.TOLERANCE} seconds old",
    ):
        assert text in prose, text


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\(([^)]+)\)", TEXT))))
def test_its_links_lead_somewhere(target: str) -> None:
    path, _, anchor = target.partition("#")
    headings = re.findall(r"^#+ (.+)$", (FILE.parent / path).read_text(), re.M)
    slugs = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    assert not anchor or anchor in slugs


_FORMS = {
    "a uuid": r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}",
    "a time": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{6})?Z",
    "a request id": r"[0-9a-f]{32}",
    "a PaymentIntent": r"pi_[A-Za-z0-9]+",
    "an invoice number": r"INV-\d{4}-\d{6}",
    "a credit note's number": r"CN-\d{4}-\d{6}",
    "a Checkout Session": r"cs_test_[A-Za-z0-9]+",
    "an address to pay at": r"https://checkout\.stripe\.com/c/pay/cs_test_[A-Za-z0-9]+",
    "a client secret": r"pi_[A-Za-z0-9]+_secret_[A-Za-z0-9]+",
}


def _form(value: Any, counted: bool) -> Any:
    """An answer in which only what differs from run to run is replaced by its kind."""
    match value:
        case dict():
            return {name: _form(part, counted) for name, part in value.items()}
        case list():
            return [_form(part, counted) for part in value]
        case str():
            return next((kind for kind, form in _FORMS.items() if re.fullmatch(form, value)), value)
        case bool():
            return value
        case float():
            return "a number"
        case int():
            return "a count" if counted else value
    return value
