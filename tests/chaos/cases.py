"""The calls to Stripe: what leads to each of them, and how to tell that its wish came true exactly once."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import requests

from glue.stripe_gateway import StripeFailure, StripeGateway
from tests.chaos.actors import Moment
from tests.chaos.scenario import require
from tests.py.mirror.world import PRICE, Booking, Row

if TYPE_CHECKING:
    from tests.chaos.stage import Stage

_numbers = itertools.count(1)
SUCCESS_URL = "https://shop.example/thanks"


@dataclass(frozen=True)
class Case(ABC):
    """One kind of call. `path`: a regular expression; `decision` and `record`: the functions before and after
    it; `by_command`: whether the outbox makes it. What it is about is a booking or a purchase."""

    operation: str
    path: str
    decision: str
    record: str
    by_command: bool = True

    def moment(self, at: str, **more: Any) -> Moment:
        return Moment(at, self.path, self.decision, self.record, **more)

    @abstractmethod
    def before(self, stage: Stage) -> Any:
        """Everything up to the request that leads to this call."""

    @abstractmethod
    def ask(self, stage: Stage, about: Any) -> requests.Response:
        """That request."""

    def decide(self, stage: Stage, about: Any) -> None:
        """The decision alone, as by a server that dies right after its commit."""
        raise NotImplementedError

    @abstractmethod
    def require_effect(self, stage: Stage, about: Any) -> None:
        """The wish came true once at Stripe, and ours says the same. Raises Violation."""

    def create(self, stage: Stage, about: Any, gateway: StripeGateway) -> bool:
        """As the server does it, once: make the object at Stripe and record it. Whether it succeeded."""
        raise NotImplementedError

    def finish(self, stage: Stage, about: Any) -> None:  # noqa: B027
        """The customer goes on from there, where there is something to go on with."""

    def unknown(self, stage: Stage, about: Any) -> set[str]:
        """What Stripe made for it and nobody knows of."""
        return set()


# -- bookings ----------------------------------------------------------------------------------------------


class OfBooking(Case):
    """What it is about is a Booking."""

    expected: tuple[str, int, int]
    """What the payment must come to in the end, ours and Stripe's: status, captured, refunded."""

    def require_effect(self, stage: Stage, about: Booking) -> None:
        (ours,) = stage.sql.execute(
            "select p.status::text, p.amount_captured, p.amount_refunded, p.stripe_payment_intent_id as id"
            " from booking.bookings b join booking.payments p on p.id = b.payment_id"
            " where b.id = %s and b.student_id = %s",
            (about.id, about.student),
        ).fetchall() or [{}]
        require(ours, "an acknowledged booking is lost")
        theirs = [
            row
            for row in stage.control.books()["payment_intents"]
            if row["metadata"].get("payment_id") == str(about.payment_id) and row["id"] not in stage.lost
        ]
        require(len(theirs) == 1, f"{len(theirs)} PaymentIntents of one booking")
        (intent,) = theirs
        require(intent["id"] == ours["id"], "another PaymentIntent is recorded")
        require(intent["charges"] == 1, f"{intent['charges']} charges of one booking")
        effects = self.effects(stage, intent)
        require(effects == 1, f"{effects} effects of one {self.operation}")
        found = (ours["status"], ours["amount_captured"], ours["amount_refunded"])
        require(found == self.expected, f"the payment came to {found}")

    def effects(self, stage: Stage, intent: Row) -> int:
        """How often Stripe did it."""
        return stage.effects(intent["id"] + self.path)


class Create(OfBooking):
    expected = ("authorized", 0, 0)

    def before(self, stage: Stage) -> Booking:
        return stage.book()

    def ask(self, stage: Stage, about: Booking) -> requests.Response:
        return stage.person(about.student).post("/api/payment/create-intent", {"bookingId": str(about.id)})

    def create(self, stage: Stage, about: Booking, gateway: StripeGateway) -> bool:
        try:
            made = gateway.create_payment_intent(stage.prepare(about))
        except StripeFailure:
            return False
        stage.record(about, made["id"])
        return True

    def finish(self, stage: Stage, about: Booking) -> None:
        stage.pay(stage.payment(about)["stripe_payment_intent_id"])

    def unknown(self, stage: Stage, about: Booking) -> set[str]:
        recorded = stage.payment(about)["stripe_payment_intent_id"]
        return {
            row["id"]
            for row in stage.control.books()["payment_intents"]
            if row["metadata"].get("payment_id") == str(about.payment_id) and row["id"] != recorded
        }

    def effects(self, stage: Stage, intent: Row) -> int:
        return 1  # one PaymentIntent, as was seen


class Capture(OfBooking):
    expected = ("captured", PRICE, 0)
    action = "confirm"

    def before(self, stage: Stage) -> Booking:
        return stage.authorized()

    def ask(self, stage: Stage, about: Booking) -> requests.Response:
        body = {"bookingId": str(about.id), "action": self.action}
        return stage.person(about.expert, "expert").post("/api/bookings/expert/confirm", body)

    def decide(self, stage: Stage, about: Booking) -> None:
        stage.confirm(about, self.action)


class Cancel(Capture):
    expected = ("cancelled", 0, 0)
    action = "decline"


class Refund(OfBooking):
    expected = ("partially_refunded", PRICE, PRICE // 2)

    def before(self, stage: Stage) -> Booking:
        return stage.captured(hours=10)

    def ask(self, stage: Stage, about: Booking) -> requests.Response:
        return stage.person(about.student).post("/api/bookings/cancel", {"bookingId": str(about.id)})

    def decide(self, stage: Stage, about: Booking) -> None:
        stage.cancel(about)

    def effects(self, stage: Stage, intent: Row) -> int:
        return len(intent["refunds"])


# -- orders ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Purchase:
    """Somebody buys a product. `replaced`: the session of an order of the same that went before."""

    user: str
    product: str
    key: str
    replaced: str = ""


class OfOrder(Case):
    """What it is about is a Purchase."""

    def before(self, stage: Stage) -> Purchase:
        number = next(_numbers)
        product = f"product-{number}"
        stage.db.one(
            "select booking.create_product(p_product_id => %(p)s, p_name => 'A book', p_amount => %(a)s,"
            " p_currency => 'eur')",
            {"p": product, "a": PRICE},
        )
        return Purchase(f"buyer-{number}", product, f"key-{number}")

    def ask(self, stage: Stage, about: Purchase) -> requests.Response:
        body = {"productId": about.product, "idempotencyKey": about.key}
        return stage.person(about.user).post("/api/checkout/create-session", body)

    def create(self, stage: Stage, about: Purchase, gateway: StripeGateway) -> bool:
        stage.lapse_locks()
        begun = stage.db.one(
            "select * from booking.begin_checkout(p_user_id => %(u)s, p_product_id => %(p)s,"
            " p_idempotency_key => %(k)s, p_request_id => %(k)s)",
            {"u": about.user, "p": about.product, "k": about.key},
        )
        assert begun is not None
        if begun["stripe_session_id"] is not None:
            return True
        try:
            made = gateway.create_checkout_session(begun, name="A book", success_url=SUCCESS_URL)
        except StripeFailure:
            return False
        stage.db.one(
            "select * from booking.finish_checkout(p_order_id => %(o)s, p_request_id => %(k)s,"
            " p_stripe_session_id => %(s)s, p_url => %(url)s)",
            {"o": begun["order_id"], "k": about.key, "s": made["id"], "url": made["url"]},
        )
        return True

    def finish(self, stage: Stage, about: Purchase) -> None:
        stage.control.pay_session(self.order(stage, about)["stripe_session_id"])

    def unknown(self, stage: Stage, about: Purchase) -> set[str]:
        order = self.order(stage, about)
        return self.sessions(stage, order) - {order["stripe_session_id"]}

    def sessions(self, stage: Stage, order: Row) -> set[str]:
        """The Checkout Sessions of an order."""
        return {
            row["id"]
            for row in stage.customer.v1.checkout.sessions.list({"limit": 100}).to_dict()["data"]
            if row["metadata"].get("order_id") == str(order["id"])
        }

    def order(self, stage: Stage, about: Purchase) -> Row:
        """The purchase's order, without those that were replaced."""
        rows = stage.sql.execute(
            "select o.id, o.status::text, o.stripe_session_id, o.stripe_payment_intent_id as intent"
            " from booking.orders o where o.user_id = %s and o.product_id = %s and o.superseded_by is null",
            (about.user, about.product),
        ).fetchall()
        require(len(rows) == 1, f"{len(rows)} orders of one purchase")
        return rows[0]

    def require_effect(self, stage: Stage, about: Purchase) -> None:
        order = self.order(stage, about)
        require(order["status"] == "paid", f"the order is {order['status']}")
        sessions = self.sessions(stage, order) - stage.lost
        require(len(sessions) == 1, f"{len(sessions)} Checkout Sessions of one order")
        require(sessions == {order["stripe_session_id"]}, "another session is recorded")
        paid = [
            row["captured"]
            for row in stage.control.books()["payment_intents"]
            if row["metadata"].get("order_id") == str(order["id"])
        ]
        require(paid == [PRICE], f"the customer paid {paid}")


class Expire(OfOrder):
    """A second order of the same begins, and the session of the first one is to end."""

    def before(self, stage: Stage) -> Purchase:
        first = super().before(stage)
        require(self.create(stage, first, stage.gateway), "the first order was refused")
        session = self.order(stage, first)["stripe_session_id"]
        return replace(first, key=f"{first.key}-again", replaced=session)

    def decide(self, stage: Stage, about: Purchase) -> None:
        require(self.create(stage, about, stage.gateway), "the second order was refused")

    def require_effect(self, stage: Stage, about: Purchase) -> None:
        effects = stage.effects(about.replaced + self.path)
        require(effects == 1, f"{effects} effects of one {self.operation}")
        status = stage.customer.v1.checkout.sessions.retrieve(about.replaced).status
        require(status == "expired", f"the replaced session is {status}")
        super().require_effect(stage, about)


_CONFIRM, _DONE = "confirm_booking_transaction", "complete_stripe_command"
CREATE = Create("create", r"^/v1/payment_intents$", "prepare_payment_intent", "record_payment_intent", False)
CHECKOUT = OfOrder("checkout", r"^/v1/checkout/sessions$", "begin_checkout", "finish_checkout", False)
CAPTURE = Capture("capture", r"/capture$", _CONFIRM, _DONE)
CANCEL = Cancel("cancel", r"/cancel$", _CONFIRM, _DONE)
REFUND = Refund("refund", r"^/v1/refunds$", "cancel_booking_transaction", _DONE)
EXPIRE = Expire("end of a session", r"/expire$", "begin_checkout", _DONE)

OF_A_REQUEST = (CREATE, CHECKOUT, CAPTURE, CANCEL, REFUND)
"""Calls that are made while somebody waits for the answer."""
OF_THE_OUTBOX = (CAPTURE, CANCEL, REFUND, EXPIRE)
"""Calls that a worker makes."""
