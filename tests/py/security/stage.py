"""Whose things there are: a student and an expert with a thing of theirs, and what betrays it."""

from __future__ import annotations

import itertools
import json
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import requests

from tests.py.http.site import CRON_SECRET, Offer, Row, Site, token
from tests.py.security.openapi import Operation

_numbers = itertools.count(1)

CALLERS = ("nobody", "stranger", "student", "expert", "admin", "scheduler")
"""Who calls: without a token, with a good token that names no role of ours, with one of the three, with
CRON_SECRET."""


@dataclass(frozen=True)
class Parties:
    """Whom a thing belongs to."""

    student: str
    expert: str

    def by_role(self, role: str) -> str:
        """The one with this role; an administrator is party to nothing."""
        return {"student": self.student, "expert": self.expert}.get(role, f"somebody-{role}")


@dataclass(frozen=True)
class Thing:
    """`fields`: how a request names it, by the names of the document. `marks`: what only its parties may
    see."""

    parties: Parties
    fields: Mapping[str, Any]
    marks: frozenset[str]


Maker = Callable[["Stage", Parties], Thing]


class Stage:
    def __init__(self, site: Site) -> None:
        self.site = site
        self.sent = 0
        """Requests of `send` so far."""
        self._others: dict[Maker, Thing] = {}

    # people

    def new_parties(self) -> Parties:
        number = next(_numbers)
        return Parties(f"sam-{number}-{uuid.uuid4().hex}", f"eva-{number}-{uuid.uuid4().hex}")

    def authorization(self, caller: str, user: str) -> dict[str, str]:
        if caller == "nobody":
            return {}
        if caller == "scheduler":
            return {"Authorization": f"Bearer {CRON_SECRET}"}
        role: Any = {"stranger": "teacher"}.get(caller, caller)
        return {"Authorization": f"Bearer {token(user, role)}"}

    # things

    def others(self, make: Maker) -> Thing:
        """Somebody else's: made once, because nothing may change it."""
        if make not in self._others:
            self._others[make] = make(self, self.new_parties())
        return self._others[make]

    def offer(self, parties: Parties, **options: Any) -> Offer:
        return self.site.offer(expert=parties.expert, **options)

    def booked(self, parties: Parties, **options: Any) -> tuple[Row, frozenset[str]]:
        """A booking with private words, and what betrays it."""
        private = f"private-{uuid.uuid4().hex}"
        row = self.site.db.one(
            "select * from booking.create_booking_transaction(p_student_id => %(student)s,"
            " p_slot_id => %(slot)s, p_details => %(details)s::jsonb)",
            {
                "student": parties.student,
                "slot": self.offer(parties, **options).slot,
                "details": json.dumps({"note": private}),
            },
        )
        assert row is not None
        marks = {private, parties.student, str(row["booking_id"]), str(row["payment_id"])}
        return {"bookingId": str(row["booking_id"]), "paymentId": str(row["payment_id"])}, frozenset(marks)

    def paying(self, parties: Parties, **options: Any) -> tuple[Row, Row, frozenset[str]]:
        """A booking with a PaymentIntent: booking, intent, what betrays them."""
        booking, marks = self.booked(parties, **options)
        intent = self.site.intent(self.site.person(parties.student), booking)
        return booking, intent, marks | {intent["paymentIntentId"], intent["clientSecret"]}

    def held(self, parties: Parties) -> tuple[Row, frozenset[str]]:
        """A booking whose money is held."""
        booking, intent, marks = self.paying(parties)
        self.site.pay(intent)
        assert self.site.booking(booking)["payment_status"] == "authorized"
        return booking, marks

    def captured(self, parties: Parties) -> tuple[Row, frozenset[str]]:
        """A booking that is confirmed and paid."""
        booking, marks = self.held(parties)
        answer = self.site.person(parties.expert, "expert").post(
            "/api/bookings/expert/confirm", {"bookingId": booking["bookingId"], "action": "confirm"}
        )
        assert answer.status_code == 200, answer.text
        self.site.control.wait_idle()
        assert self.site.booking(booking)["payment_status"] == "captured"
        return booking, marks

    def asked_back(self, parties: Parties) -> tuple[str, frozenset[str]]:
        """A refund request with private words: its id, and what betrays it."""
        booking, marks = self.captured(parties)
        private = f"private-{uuid.uuid4().hex}"
        answer = self.site.person(parties.student).post(
            "/api/refunds/request", {"bookingId": booking["bookingId"], "amount": 100, "reason": private}
        )
        assert answer.status_code == 201, answer.text
        return answer.json()["requestId"], marks | {private, answer.json()["requestId"]}

    def seated(self, parties: Parties) -> tuple[Row, frozenset[str]]:
        """A seat in a class, paid at Stripe and not yet confirmed: how it is named, what betrays it."""
        slot = self.offer(parties, capacity=2, confirmation="instant").slot
        answer = self.site.person(parties.student).post("/api/payments/create-intent", {"classId": str(slot)})
        assert answer.status_code == 200, answer.text
        held = answer.json()
        self.site.control.set_webhook(None)  # no event confirms it before the page does
        self.site.customer.v1.payment_intents.confirm(
            held["paymentIntentId"], {"payment_method": "pm_card_visa"}
        )
        marks = {parties.student, held["bookingId"], held["paymentIntentId"], held["clientSecret"]}
        return {"classId": str(slot), "paymentIntentId": held["paymentIntentId"]}, frozenset(marks)

    # what is written

    def quiet(self) -> None:
        """Waits for the webhooks of what was done so far: they write, too."""
        self.site.control.wait_idle()

    @contextmanager
    def unchanged(self) -> Iterator[None]:
        """Asserts that nothing is written, neither in the database nor at Stripe."""
        self.quiet()
        with self.site.unchanged():
            yield

    # requests

    def stripe_calls(self) -> int:
        """How often Stripe was asked for a change."""
        return len(self.site.control.requests(method="POST"))

    def send(
        self, operation: Operation, headers: Mapping[str, str], values: Mapping[str, Any], **options: Any
    ) -> requests.Response:
        """One request with these values in their places; what it requires and `values` has not is made up."""
        values = self.made_up(operation) | dict(values)
        path = operation.path.format(**operation.in_place("path", values))
        body = operation.in_place("body", values)
        self.sent += 1
        return requests.request(
            operation.method,
            self.site.base + path,
            params=operation.in_place("query", values),
            json=body if operation.has_body else None,
            headers=operation.in_place("header", values) | dict(headers),
            timeout=120,
            **options,
        )

    def made_up(self, operation: Operation) -> dict[str, Any]:
        """A value for each field that the operation requires and that names no thing."""
        now = datetime.now(UTC)
        known: dict[str, Any] = {
            "from": (now - timedelta(days=1)).isoformat(timespec="seconds"),
            "to": (now + timedelta(days=30)).isoformat(timespec="seconds"),
            "action": "confirm",
            "decision": "approve",
            "idempotencyKey": uuid.uuid4().hex,
            "Stripe-Signature": "t=1,v1=00",
        }
        needed = {field.name for field in operation.fields if field.required}
        return {name: value for name, value in known.items() if name in needed}

    def absent(self, thing: Thing) -> dict[str, Any]:
        """The names of a thing that is not there."""
        return {
            name: str(uuid.uuid4()) if _is_uuid(value) else f"{value[:3]}absent{uuid.uuid4().hex}"
            for name, value in thing.fields.items()
        }


def _is_uuid(value: str) -> bool:
    try:
        uuid.UUID(value)
    except ValueError:
        return False
    return True


# The kinds of things that requests name


def slot(stage: Stage, parties: Parties) -> Thing:
    """Published: everybody who has a token may see it."""
    return Thing(parties, {"slotId": str(stage.offer(parties).slot)}, frozenset())


def a_class(stage: Stage, parties: Parties) -> Thing:
    """Published: everybody who has a token may see it."""
    offer = stage.offer(parties, capacity=2, confirmation="instant")
    return Thing(parties, {"classId": str(offer.slot)}, frozenset())


def paid_seat(stage: Stage, parties: Parties) -> Thing:
    """A seat in a class that its student has paid."""
    return Thing(parties, *stage.seated(parties))


def product(stage: Stage, parties: Parties) -> Thing:
    """On sale: everybody who has a token may buy it."""
    made = stage.site.db.scalar(
        "select * from booking.create_product(p_product_id => %(id)s, p_name => 'A course',"
        " p_amount => 1900, p_currency => 'eur')",
        {"id": f"product-{uuid.uuid4().hex}"},
    )
    return Thing(parties, {"productId": made}, frozenset())


def booking(stage: Stage, parties: Parties) -> Thing:
    """One that nobody has paid."""
    made, marks = stage.booked(parties)
    return Thing(parties, {"bookingId": made["bookingId"], "id": made["bookingId"]}, marks)


def paid_booking(stage: Stage, parties: Parties) -> Thing:
    """One whose money is held, so that its expert can decide."""
    made, marks = stage.held(parties)
    return Thing(parties, {"bookingId": made["bookingId"]}, marks)


def captured_booking(stage: Stage, parties: Parties) -> Thing:
    """One that is confirmed and paid."""
    made, marks = stage.captured(parties)
    return Thing(parties, {"bookingId": made["bookingId"]}, marks)


def refund_request(stage: Stage, parties: Parties) -> Thing:
    """One that waits for a decision."""
    made, marks = stage.asked_back(parties)
    return Thing(parties, {"id": made}, marks)


def refund_requests(stage: Stage, parties: Parties) -> Thing:
    """What lists of refund requests could show: the request names none."""
    return Thing(parties, {}, stage.asked_back(parties)[1])


def invoice(stage: Stage, parties: Parties) -> Thing:
    """One of a captured booking."""
    made, marks = stage.captured(parties)
    row = stage.site.db.one(
        "select invoice_id from booking.issue_invoice(p_payment_id => %(payment)s)",
        {"payment": made["paymentId"]},
    )
    assert row is not None
    return Thing(parties, {"id": str(row["invoice_id"])}, marks | {str(row["invoice_id"])})


def invoices(stage: Stage, parties: Parties) -> Thing:
    """What lists of invoices could show: the request names none."""
    return Thing(parties, {}, invoice(stage, parties).marks)


def lists(stage: Stage, parties: Parties) -> Thing:
    """What lists could show: the request names nothing."""
    return Thing(parties, {}, stage.captured(parties)[1])


def nothing(stage: Stage, parties: Parties) -> Thing:
    """The request names nothing, and there is nothing to see."""
    return Thing(parties, {}, frozenset())
