"""A database and a sandbox that belong to one test, and what people do with them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import psycopg
import stripe
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from glue.db import Database
from glue.mirror import Mirror
from glue.sandbox.control import SandboxControl
from glue.sandbox.process import SandboxProcess
from glue.stripe_gateway import StripeGateway, StripeUnavailable
from tests.pg.away import Cut

KEY = "sk_test_mirror"
PRICE = 5000
_numbers = itertools.count(1)

Row = dict[str, Any]


def no_sleep(seconds: float) -> None:
    """Repeats within a call follow each other at once."""


@dataclass(frozen=True)
class Booking:
    """One booking and the people it belongs to."""

    id: UUID
    payment_id: UUID
    student: str
    expert: str
    intent: str = ""


class World:
    """`sql` is a superuser's connection, `db` the application's pool."""

    def __init__(self, url: str, sandbox: SandboxProcess) -> None:
        self.url = url
        self.control: SandboxControl = sandbox.control
        self.stripe_url = sandbox.url
        self.sql = psycopg.connect(url, autocommit=True, row_factory=dict_row)
        self.dbs: list[Database] = []
        self.db = self.new_db()
        self.customer = stripe.StripeClient(KEY, base_addresses={"api": sandbox.url})
        self.gateways: list[StripeGateway] = []
        self.mirrors: list[Mirror] = []
        self.delivered = 0
        self.gateway = self.new_gateway()
        self.mirror = self.new_mirror()

    def close(self) -> None:
        self.control.reset()
        for mirror in self.mirrors:
            mirror.close()
        for gateway in self.gateways:
            gateway.close()
        for db in self.dbs:
            db.close()
        self.sql.close()

    def new_gateway(self, **options: Any) -> StripeGateway:
        gateway = StripeGateway(KEY, self.stripe_url, **{"sleep": no_sleep, **options})
        self.gateways.append(gateway)
        return gateway

    def new_db(self, url: str = "", **options: Any) -> Database:
        """A pool of the application's role."""
        url = url or self.url
        url = f"{url}{'&' if '?' in url else '?'}options=-crole%3Dbooking_app"
        db = Database(url, **{"max_size": 20, **options})
        self.dbs.append(db)
        return db

    def new_mirror(
        self, gateway: StripeGateway | None = None, db: Database | None = None, **options: Any
    ) -> Mirror:
        mirror = Mirror(db or self.db, gateway or self.gateway, f"test-{next(_numbers)}", **options)
        self.mirrors.append(mirror)
        return mirror

    # -- what people do

    def book(self, *, hours: float = 48) -> Booking:
        """A student books a slot that begins in so many hours."""
        number = next(_numbers)
        student, expert = f"student-{number}", f"expert-{number}"
        session = self.db.scalar(
            "select * from booking.create_session(p_expert_id => %(e)s, p_title => 'An hour',"
            " p_amount => %(a)s, p_currency => 'eur')",
            {"e": expert, "a": PRICE},
        )
        slot = self.db.scalar(
            "select * from booking.publish_slot(p_expert_id => %(e)s, p_session_id => %(s)s,"
            " p_starts_at => now() + %(h)s * interval '1 hour',"
            " p_ends_at => now() + (%(h)s + 1) * interval '1 hour')",
            {"e": expert, "s": session, "h": hours},
        )
        row = self.db.one(
            "select * from booking.create_booking_transaction(p_student_id => %(u)s, p_slot_id => %(s)s)",
            {"u": student, "s": slot},
        )
        assert row is not None
        return Booking(row["booking_id"], row["payment_id"], student, expert)

    def prepare(self, booking: Booking) -> Row:
        row = self.db.one(
            "select * from booking.prepare_payment_intent(p_student_id => %(u)s, p_booking_id => %(b)s)",
            {"u": booking.student, "b": booking.id},
        )
        assert row is not None
        return row

    def record(self, booking: Booking, intent: str) -> Row:
        row = self.db.one(
            "select * from booking.record_payment_intent(p_payment_id => %(p)s,"
            " p_stripe_payment_intent_id => %(i)s)",
            {"p": booking.payment_id, "i": intent},
        )
        assert row is not None
        return row

    def create_intent(self, booking: Booking, gateway: StripeGateway | None = None) -> str:
        """As a client that asks again until it gets its PaymentIntent."""
        while True:
            try:
                made = (gateway or self.gateway).create_payment_intent(self.prepare(booking), deadline=20)
            except StripeUnavailable:
                continue
            self.record(booking, made["id"])
            return str(made["id"])

    def pay(self, intent: str) -> None:
        self.customer.v1.payment_intents.confirm(intent, {"payment_method": "pm_card_visa"})

    def authorized(self, **options: Any) -> Booking:
        """A booking whose card is authorized."""
        booking = self.book(**options)
        intent = self.create_intent(booking)
        self.pay(intent)
        self.deliver()
        assert self.payment(booking)["status"] == "authorized"
        return Booking(booking.id, booking.payment_id, booking.student, booking.expert, intent)

    def captured(self, **options: Any) -> Booking:
        booking = self.authorized(**options)
        assert self.mirror.run(self.confirm(booking)) == "done"
        self.deliver()
        assert self.payment(booking)["status"] == "captured"
        return booking

    def confirm(self, booking: Booking, action: str = "confirm") -> UUID:
        """The expert's word; the command that it queued."""
        row = self.db.one(
            "select * from booking.confirm_booking_transaction(p_expert_id => %(e)s, p_booking_id => %(b)s,"
            " p_action => %(a)s)",
            {"e": booking.expert, "b": booking.id, "a": action},
        )
        assert row is not None
        assert isinstance(row["command_id"], UUID)
        return row["command_id"]

    def cancel(self, booking: Booking) -> UUID:
        """The student's word; the command that it queued."""
        row = self.db.one(
            "select * from booking.cancel_booking_transaction(p_actor_id => %(u)s, p_booking_id => %(b)s)",
            {"u": booking.student, "b": booking.id},
        )
        assert row is not None
        assert isinstance(row["command_id"], UUID)
        return row["command_id"]

    def deliver(self) -> list[str]:
        """All new events, in order."""
        events = self.control.events()[self.delivered :]
        self.delivered += len(events)
        return [
            self.db.scalar(
                "select * from booking.process_webhook_event(p_event => %(e)s)", {"e": Jsonb(event)}
            )
            for event in events
        ]

    @contextmanager
    def away(self) -> Iterator[Cut]:
        """Inside, `cut()` takes the database away from everybody but `sql`; it is back afterwards."""
        elsewhere = self.url.rsplit("/", 1)[0] + "/postgres"
        with psycopg.connect(elsewhere, autocommit=True, row_factory=dict_row) as sql:
            cut = Cut(sql, self.sql.info.dbname, self.sql.info.backend_pid)
            try:
                yield cut
            finally:
                cut.mend()

    # -- what the outbox does

    def due(self) -> None:
        """The backoff of every waiting command is over."""
        self.sql.execute("update booking.stripe_commands set run_at = now() where status = 'pending'")

    def lapse_leases(self) -> None:
        self.sql.execute(
            "update booking.stripe_commands set lease_until = now() - interval '1 s' where status = 'running'"
        )

    def drain(self, mirror: Mirror | None = None) -> None:
        """Run the outbox, and deliver what Stripe says of it, until nothing is left to do."""
        worker = mirror or self.mirror
        for _ in range(40):
            self.due()
            claims = worker.claim_due(limit=100, min_age=0)
            for claim in claims:
                worker.run_claimed(claim)
            if not self.deliver() and not claims:
                return
        raise AssertionError(f"the outbox does not come to rest: {self.commands()}")

    # -- what is true

    def payment(self, booking: Booking) -> Row:
        return self._row("select * from booking.payments where id = %s", booking.payment_id)

    def booking(self, booking: Booking) -> Row:
        return self._row("select * from booking.bookings where id = %s", booking.id)

    def command(self, command_id: UUID) -> Row:
        return self._row("select * from booking.stripe_commands where id = %s", command_id)

    def commands(self) -> list[Row]:
        return self.sql.execute("select * from booking.stripe_commands order by created_at, id").fetchall()

    def alerts(self) -> list[str]:
        return [row["kind"] for row in self.sql.execute("select * from booking.list_alerts()")]

    def effects(self, path: str) -> int:
        """How often the sandbox carried out a call to this path (a regular expression)."""
        return sum(row["applied"] for row in self.control.requests(method="POST", path=path))

    def intent(self, intent_id: str) -> Row:
        """The sandbox's books of a PaymentIntent."""
        (found,) = [row for row in self.control.books()["payment_intents"] if row["id"] == intent_id]
        return dict(found)

    def assert_books_equal(self) -> None:
        """Every payment of ours is what Stripe has, to the minor unit, and the invariants hold."""
        ours = {
            row["stripe_payment_intent_id"]: (row["amount_captured"], row["amount_refunded"], row["status"])
            for row in self.sql.execute(
                "select * from booking.payments where stripe_payment_intent_id is not null"
            )
        }
        theirs = {
            row["id"]: (row["captured"], row["refunded"], _status(row))
            for row in self.control.books()["payment_intents"]
            if row["id"] in ours
        }
        assert ours == theirs
        assert self.sql.execute("select * from booking.check_invariants()").fetchall() == []

    def _row(self, query: Any, value: UUID) -> Row:
        row = self.sql.execute(query, (value,)).fetchone()
        assert row is not None
        return row


def _status(intent: Row) -> str:
    if intent["status"] == "canceled":
        return "cancelled"
    if intent["captured"]:
        if intent["refunded"] == 0:
            return "captured"
        return "refunded" if intent["refunded"] == intent["captured"] else "partially_refunded"
    return "authorized" if intent["amount_capturable"] else "pending"


@contextmanager
def world(url: str, sandbox: SandboxProcess) -> Iterator[World]:
    made = World(url, sandbox)
    try:
        yield made
    finally:
        made.close()


def wait_until(connection: psycopg.Connection[Row], query: Any) -> None:
    """Ask the database until it has a row to show; between the questions time passes in the server."""
    for _ in range(20_000):
        if connection.execute(query).fetchone() is not None:
            return
        connection.execute("select pg_sleep(0.005)")
    raise AssertionError(f"never came true: {query}")
