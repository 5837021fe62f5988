"""Histories at the sandbox, and runs over them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import stripe

from glue.db import Database
from glue.reconcile import Reconciler, Report
from glue.stripe_gateway import Kind, StripeGateway
from tests.py.mirror.world import KEY, PRICE, Booking, Row, World, no_sleep

HOUR = timedelta(hours=1)
PAGES = r"^/v1/(payment_intents|charges|refunds)$"


class Watched(StripeGateway):
    """Calls `before_page(kind)` before the pages of a kind, and `before_look(id)` before each single look."""

    before_page: Callable[[str], object] = staticmethod(lambda kind: None)
    before_look: Callable[[str], object] = staticmethod(lambda stripe_id: None)

    def pages(
        self, kind: Kind, start: datetime, end: datetime, *, deadline: float = 30.0
    ) -> Iterator[list[dict[str, Any]]]:
        self.before_page(kind)
        return super().pages(kind, start, end, deadline=deadline)

    def retrieve_whole(self, pi_id: str, *, deadline: float = 30.0) -> list[dict[str, Any]]:
        self.before_look(pi_id)
        return super().retrieve_whole(pi_id, deadline=deadline)


def watched(here: World) -> Watched:
    gateway = Watched(KEY, here.stripe_url, sleep=no_sleep)
    here.gateways.append(gateway)
    return gateway


class Time:
    """Seconds that pass only while somebody waits; `on_wait` happens meanwhile."""

    def __init__(self, on_wait: Callable[[], object] = lambda: None) -> None:
        self.now = 0.0
        self.waits = 0
        self._on_wait = on_wait

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.waits += 1
        self._on_wait()


def reconcile(
    here: World,
    gateway: StripeGateway | None = None,
    *,
    db: Database | None = None,
    time: Time | None = None,
    start: datetime | None = None,
    end: datetime | None = None,
    **options: Any,
) -> Report:
    """A run over the last and the next hour."""
    gateway = gateway or here.gateway
    db = db or here.db
    time = time or Time()
    now = datetime.now(UTC)
    reconciler = Reconciler(
        db, gateway, here.new_mirror(gateway, db), clock=time, sleep=time.sleep, **options
    )
    return reconciler.run(start or now - HOUR, end or now + HOUR)


def found(report: Report) -> list[tuple[str, str, str | None, str | None]]:
    """(kind, stripe_id, ours, theirs) of each difference."""
    return [(row["kind"], row["stripe_id"], row["ours"], row["theirs"]) for row in report.differences]


def orphan(here: World, metadata: Row, amount: int = PRICE) -> str:
    """A PaymentIntent at Stripe of which our books know nothing."""
    params: Any = {
        "amount": amount,
        "currency": "eur",
        "capture_method": "manual",
        "payment_method_types": ["card"],
        "metadata": metadata,
    }
    return here.customer.v1.payment_intents.create(params).id


def history(here: World) -> dict[str, Booking]:
    """Bookings in every state, as they come about."""
    scene = {
        "captured": here.captured(),
        "held": here.authorized(),
        "refunded": here.captured(),
        "half refunded": here.captured(hours=10),
        "refund failed": here.captured(),
        "declined": here.authorized(),
        "prepared only": here.book(),
        "unpaid": here.book(),
        "card declined": here.book(),
        "released twice": here.book(),
    }
    here.prepare(scene["prepared only"])
    here.create_intent(scene["unpaid"])
    refused = here.create_intent(scene["card declined"])
    with pytest.raises(stripe.CardError):
        here.customer.v1.payment_intents.confirm(refused, {"payment_method": "pm_card_chargeDeclined"})
    for name in ("refunded", "half refunded", "refund failed"):
        here.mirror.run(here.cancel(scene[name]))
    here.mirror.run(here.confirm(scene["declined"], "decline"))
    here.deliver()
    failing = here.customer.v1.refunds.list({"payment_intent": scene["refund failed"].intent}).data[0]
    here.control.fail_refund(failing.id)
    # a second PaymentIntent of one payment, which is released
    first = here.create_intent(scene["released twice"])
    second = orphan(here, {"payment_id": str(scene["released twice"].payment_id)})
    here.record(scene["released twice"], second)
    # refunded in the dashboard, in part
    here.customer.v1.refunds.create({"payment_intent": scene["captured"].intent, "amount": 700})
    # of other systems, which share the account
    here.sql.execute("update booking.settings set reports_foreign_payments = false")
    for metadata in ({}, {"order_id": "1001"}, {"payment_id": "17"}):
        here.pay(orphan(here, metadata))
    here.deliver()
    here.drain()
    assert first != second
    return scene
