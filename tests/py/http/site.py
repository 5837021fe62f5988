"""A whole site that belongs to one test: database, application over real HTTP, and Stripe's sandbox."""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

import jwt
import psycopg
import requests
import stripe
from flask import Flask
from psycopg import sql
from psycopg.rows import dict_row
from werkzeug.serving import make_server

from glue.app import create_app
from glue.auth import Role
from glue.db import Database
from glue.mirror import Mirror
from glue.routes import Services
from glue.sandbox.control import SandboxControl
from glue.sandbox.process import SandboxProcess
from glue.sandbox.signing import signature_header
from glue.settings import Settings
from glue.stripe_gateway import StripeGateway

Row = dict[str, Any]

STRIPE_KEY = "sk_test_http_0123456789"
WEBHOOK_SECRET = "whsec_http_0123456789"
OLD_WEBHOOK_SECRET = "whsec_http_before_rotation"
CRON_SECRET = "cron-secret-for-tests-0123456789"
JWT_SECRET = "jwt-secret-for-tests-0123456789-0123456789"
PRICE = 5000
SERVER_ROLE = "booking_http_test"
WEBHOOKS = "/api/webhooks/stripe"
CRON = "/api/cron/cleanup-bookings"

_numbers = itertools.count(1)


def base_env(db_url: str, stripe_url: str = "http://127.0.0.1:9") -> dict[str, str]:
    """The least environment that a server starts with."""
    return {
        "DATABASE_URL": db_url,
        "STRIPE_SECRET_KEY": STRIPE_KEY,
        "STRIPE_WEBHOOK_SECRET": f"{WEBHOOK_SECRET},{OLD_WEBHOOK_SECRET}",
        "STRIPE_API_BASE": stripe_url,
        "CRON_SECRET": CRON_SECRET,
        "JWT_SECRET": JWT_SECRET,
        "RATE_LIMIT_MAX_REQUESTS": "100000",
    }


def as_server(db_url: str) -> str:
    """The URL of a server's login: not the superuser, but somebody in booking_app and booking_cron."""
    with psycopg.connect(db_url, autocommit=True) as connection:
        connection.execute(
            sql.SQL(
                "do $$ begin create role {} in role booking_app, booking_cron;"
                " exception when duplicate_object or unique_violation then null; end $$"
            ).format(sql.Identifier(SERVER_ROLE))
        )
    return f"{db_url}{'&' if '?' in db_url else '?'}options=-crole%3D{SERVER_ROLE}"


def token(
    user: str, role: str = "student", *, seconds: int = 86_400, key: str = JWT_SECRET, **claims: Any
) -> str:
    """A bearer token of HS256."""
    body = {"sub": user, "role": role, "exp": int(time.time()) + seconds, **claims}
    return jwt.encode(body, key, algorithm="HS256")


@contextmanager
def served(app: Flask) -> Iterator[str]:
    """The application over real HTTP, on a thread of its own; its URL."""
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@dataclass(frozen=True)
class Person:
    """Somebody with a token."""

    base: str
    user: str
    authorization: str

    def get(self, path: str, **options: Any) -> requests.Response:
        return self._send("GET", path, **options)

    def post(self, path: str, body: Any = None, **options: Any) -> requests.Response:
        return self._send("POST", path, json=body, **options)

    def _send(
        self, method: str, path: str, headers: Mapping[str, str] | None = None, **more: Any
    ) -> requests.Response:
        sent = {"Authorization": self.authorization, **(headers or {})}
        return requests.request(method, self.base + path, headers=sent, timeout=120, **more)


@dataclass(frozen=True)
class Offer:
    """A slot on sale."""

    slot: UUID
    session: UUID
    expert: str


class Site:
    """`sql` is a superuser's connection; everything else goes over HTTP."""

    def __init__(self, db_url: str, sandbox: SandboxProcess, **changes: Any) -> None:
        self.control: SandboxControl = sandbox.control
        self.db_url = db_url
        patient = {"invoice_generation_timeout": 120}  # a loaded machine starts processes slowly
        env = base_env(as_server(db_url), sandbox.url)
        self.settings = replace(Settings.from_env(env), **{**patient, **changes})
        self.sql: psycopg.Connection[Row] = psycopg.connect(db_url, autocommit=True, row_factory=dict_row)
        self.db = Database(
            self.settings.database_url,
            max_size=16,
            statement_timeout_ms=self.settings.statement_timeout_ms,
            lock_timeout_ms=self.settings.lock_timeout_ms,
            acquire_timeout=30,  # a loaded machine takes its time to connect
        )
        self.gateway = StripeGateway(
            STRIPE_KEY,
            sandbox.url,
            timeout=30,
            call_timeout=29,
            max_concurrent=self.settings.max_concurrent_payments,
            sleep=lambda _: None,
        )
        self.mirror = Mirror(self.db, self.gateway, f"http-test-{next(_numbers)}")
        self.app = create_app(self.settings, self.db, self.gateway, self.mirror, stripe_wait=30)
        self.services: Services = self.app.extensions["pgbooking"]
        self.customer = stripe.StripeClient(
            STRIPE_KEY, base_addresses={"api": sandbox.url}, max_network_retries=0
        )
        self.base = ""

    @contextmanager
    def open(self) -> Iterator[Site]:
        with served(self.app) as base:
            self.base = base
            try:
                yield self
            finally:
                self.control.set_webhook(None)
                self.control.reset()
                self.services.invoices.close()
                self.mirror.close()
                self.gateway.close()
                self.db.close()
                self.sql.close()

    # people

    def person(self, user: str, role: Role = "student", **claims: Any) -> Person:
        return Person(self.base, user, f"Bearer {token(user, role, **claims)}")

    def new_student(self) -> Person:
        return self.person(f"student-{next(_numbers)}")

    def nobody(self, authorization: str = "") -> Person:
        return Person(self.base, "", authorization)

    # what they do

    def offer(
        self, *, hours: float = 48, capacity: int = 1, confirmation: str = "expert", expert: str | None = None
    ) -> Offer:
        """An expert publishes a slot that begins in so many hours."""
        expert = expert or f"expert-{next(_numbers)}"
        session = self.db.scalar(
            "select * from booking.create_session(p_expert_id => %(e)s, p_title => 'An hour',"
            " p_amount => %(a)s, p_currency => 'eur')",
            {"e": expert, "a": PRICE},
        )
        slot = self.db.scalar(
            "select * from booking.publish_slot(p_expert_id => %(e)s, p_session_id => %(s)s,"
            " p_starts_at => now() + %(h)s * interval '1 hour',"
            " p_ends_at => now() + (%(h)s + 1) * interval '1 hour',"
            " p_capacity => %(c)s, p_confirmation => %(m)s)",
            {"e": expert, "s": session, "h": hours, "c": capacity, "m": confirmation},
        )
        return Offer(slot, session, expert)

    def book(self, student: Person, offer: Offer | None = None) -> Row:
        offer = offer or self.offer()
        response = student.post("/api/bookings/create", {"slotId": str(offer.slot)})
        assert response.status_code == 201, response.text
        return dict(response.json())

    def intent(self, student: Person, booking: Row) -> Row:
        response = student.post("/api/payment/create-intent", {"bookingId": booking["bookingId"]})
        assert response.status_code == 200, response.text
        return dict(response.json())

    def pay(self, intent: Row, method: str = "pm_card_visa") -> None:
        """The customer's browser confirms, and the events arrive."""
        self.control.set_webhook(self.base + WEBHOOKS, WEBHOOK_SECRET)
        self.customer.v1.payment_intents.confirm(intent["paymentIntentId"], {"payment_method": method})
        self.control.wait_idle()

    def authorized(self, student: Person, offer: Offer | None = None) -> tuple[Row, Row]:
        """A booking whose money is held: (booking, intent)."""
        booking = self.book(student, offer)
        intent = self.intent(student, booking)
        self.pay(intent)
        assert self.booking(booking)["payment_status"] == "authorized"
        return booking, intent

    def booking(self, booking: Row) -> Row:
        """The booking as the database has it."""
        row = self.sql.execute(
            "select b.status::text, b.cancelled_by, p.status::text as payment_status, p.amount_captured,"
            " p.amount_refunded from booking.bookings b left join booking.payments p on p.id = b.payment_id"
            " where b.id = %s",
            (booking["bookingId"],),
        ).fetchone()
        assert row is not None
        return row

    # webhooks

    def deliver(
        self, event: Any, *, secret: str = WEBHOOK_SECRET, signature: str | None = None, **options: Any
    ) -> requests.Response:
        """Posts an event (or raw bytes), signed unless a signature is given."""
        body = event if isinstance(event, bytes) else json.dumps(event).encode()
        header = signature_header(body, secret, **options) if signature is None else signature
        headers = {"Content-Type": "application/json", "Stripe-Signature": header}
        return requests.post(self.base + WEBHOOKS, data=body, headers=headers, timeout=120)

    # what is written

    def contents(self) -> dict[str, list[str]]:
        """Every row of every table."""
        tables = self.sql.execute(
            "select c.relname from pg_class c"
            " where c.relnamespace = 'booking'::regnamespace and c.relkind = 'r'"
        ).fetchall()
        found = {}
        for table in tables:
            query = sql.SQL("select t::text as line from booking.{} t order by 1").format(
                sql.Identifier(table["relname"])
            )
            found[table["relname"]] = [row["line"] for row in self.sql.execute(query)]
        return found

    @contextmanager
    def unchanged(self) -> Iterator[None]:
        """Asserts that nothing is written, neither in the database nor at Stripe."""
        before, asked = self.contents(), len(self.control.requests(method="POST"))
        yield
        assert self.contents() == before
        assert len(self.control.requests(method="POST")) == asked


def an_event(kind: str = "payment_intent.succeeded", **changes: Any) -> Row:
    """An event about a PaymentIntent that is not ours."""
    return {
        "id": f"evt_{next(_numbers)}",
        "object": "event",
        "type": kind,
        "created": int(time.time()),
        "data": {"object": {"id": "pi_of_somebody_else", "object": "payment_intent", "status": "succeeded"}},
        **changes,
    }


def refused(response: requests.Response, status: int, code: str) -> Row:
    """Asserts an error in its envelope; its details."""
    assert response.status_code == status, response.text
    body = response.json()
    assert set(body) == {"error", "requestId"}
    assert set(body["error"]) == {"code", "message", "details"}
    assert body["error"]["code"] == code, body
    assert body["error"]["message"]
    assert body["requestId"] == response.headers["X-Request-Id"]
    return dict(body["error"]["details"])


def until(condition: Callable[[], bool], seconds: float = 120) -> None:
    """Asks again until it is true; fails after so many seconds."""
    give_up = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up, "it did not come about"
