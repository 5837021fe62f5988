"""What ought to be true: the rules of docs/sql-api.md in a few lines of Python, without a database.

Times are Unix seconds, amounts minor units. A decision that is refused raises Refused with the code that the
function must give.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

Obj = dict[str, Any]
Differences = dict[tuple[str, str], tuple[str | None, str]]
"""By PaymentIntent and kind: ours and theirs."""

HOUR = 3600
TIMEOUT = 30 * 60
KEY_LIFE = 24 * HOUR
LOCK_LIFE = 10
BEFORE_HOLD = ("pending", "requires_action", "processing", "failed")
MAY_BECOME = {
    "authorized": BEFORE_HOLD,
    "captured": (*BEFORE_HOLD, "authorized", "captured"),
    "cancelled": (*BEFORE_HOLD, "authorized", "cancelled"),
}
OVER = ("won", "warning_closed", "prevented")
LIVE = ("pending", "confirmed")
DEAD = ("declined", "cancelled")
LADDER = ("pending", "expired", "failed", "paid")
FITS = {
    "requires_payment_method": ("pending", "failed"),
    "requires_action": ("requires_action", "failed"),
    "processing": ("processing", "failed"),
    "requires_capture": ("authorized",),
    "succeeded": ("captured", "partially_refunded", "refunded"),
    "canceled": ("cancelled",),
}
"""What a PaymentIntent's status is called here; a decline in the same second counts as the later word."""
EDGES = {
    ("pending", "confirmed"),
    ("pending", "declined"),
    ("pending", "cancelled"),
    ("confirmed", "cancelled"),
    ("confirmed", "completed"),
}


class Refused(Exception):
    """'PT409 slot_unavailable'."""


@dataclass
class Slot:
    id: str
    expert: str
    mode: str
    capacity: int
    amount: int
    starts: float
    ends: float


@dataclass
class Payment:
    """What we have been told of one PaymentIntent."""

    id: str
    amount: int
    status: str = "pending"
    captured: int = 0
    charge_refunded: int = 0
    seen_at: float = 0
    capture_before: float | None = None
    intent: str | None = None
    refunds: dict[str, tuple[int, str]] = field(default_factory=dict)
    disputes: dict[str, tuple[float, str]] = field(default_factory=dict)

    @property
    def refunded(self) -> int:
        known = sum(amount for amount, _ in self.refunds.values())
        alive = sum(
            amount for amount, status in self.refunds.values() if status not in ("failed", "canceled")
        )
        return min(self.captured, alive + max(0, self.charge_refunded - known))

    @property
    def shown(self) -> str:
        if not self.captured:
            return self.status
        if not self.refunded:
            return "captured"
        return "refunded" if self.refunded == self.captured else "partially_refunded"

    @property
    def is_held(self) -> bool:
        """A dispute holds refunds back."""
        return any(status not in OVER for _, status in self.disputes.values())


@dataclass
class Booking:
    id: str
    slot: Slot
    student: str
    payment_id: str
    created: float
    status: str = "pending"
    by: str | None = None
    percent: int | None = None
    payment: Payment | None = None
    """None: never prepared, or moved on to the booking that seated the student again."""

    @property
    def is_dead(self) -> bool:
        return self.status in DEAD

    @property
    def is_lapsed_hold(self) -> bool:
        return self.slot.mode == "instant" and self.status == "cancelled" and self.expired

    expired: bool = False

    def end(self, status: str, by: str | None, percent: int) -> None:
        self.status, self.by, self.percent = status, by, percent


@dataclass
class Order:
    """A purchase at Checkout."""

    id: str
    user: str
    created: float
    status: str = "pending"
    session: str | None = None
    intent: str | None = None
    superseded_by: str | None = None

    @property
    def is_live(self) -> bool:
        return self.status == "pending" and self.superseded_by is None


class Expected:
    """`now` is set by whoever moves the clock."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slots: list[Slot] = []
        self.bookings: dict[str, Booking] = {}
        self.keys: dict[tuple[str, str], tuple[str, str, float]] = {}
        self.reseated: list[Booking] = []
        """Bookings that came to be by themselves; the machine gives them their ids."""
        self.orders: dict[str, Order] = {}
        self.order_keys: dict[tuple[str, str], tuple[str, float]] = {}
        self.locks: dict[str, tuple[str, float]] = {}
        """By user: the request that may work on the purchase, and until when."""

    # -- who is where

    def at(self, slot: Slot, *statuses: str) -> list[Booking]:
        known = [*self.bookings.values(), *self.reseated]
        return [each for each in known if each.slot is slot and each.status in statuses]

    def seats(self, slot: Slot) -> int:
        return len(self.at(slot, *LIVE, "completed"))

    def live(self, slot: Slot, student: str) -> Booking | None:
        return next((each for each in self.at(slot, *LIVE) if each.student == student), None)

    def payments(self) -> Iterator[Payment]:
        for booking in [*self.bookings.values(), *self.reseated]:
            if booking.payment is not None:
                yield booking.payment

    def of(self, payment: Payment) -> Booking:
        return next(each for each in [*self.bookings.values(), *self.reseated] if each.payment is payment)

    def payment(self, payment_id: str) -> Payment | None:
        return next((each for each in self.payments() if each.id == payment_id), None)

    # -- decisions

    def book(self, slot: Slot, student: str, key: str | None = None) -> Booking | None:
        """The earlier booking that a repeated key gives, or None: there will be a new one."""
        if key is not None and (student, key) in self.keys:
            known, booking, until = self.keys[student, key]
            if until > self.now:
                if known != slot.id:
                    raise Refused("PT409 idempotency_key_reused")
                return self.bookings[booking]
        mine = self.live(slot, student)
        if self.seats(slot) >= slot.capacity:
            raise Refused("PT409 duplicate_booking" if mine else "PT409 slot_unavailable")
        if slot.starts <= self.now:
            raise Refused("PT409 slot_unavailable")
        if mine:
            raise Refused("PT409 duplicate_booking")
        return None

    def booked(self, booking: Booking, key: str | None = None) -> None:
        self.bookings[booking.id] = booking
        if key is not None:
            self.keys[booking.student, key] = (booking.slot.id, booking.id, self.now + KEY_LIFE)

    def hold(self, slot: Slot, student: str) -> Booking | None:
        """The unpaid hold that there is already, or None."""
        mine = self.live(slot, student)
        if mine is not None:
            if mine.status != "pending" or (mine.payment and mine.payment.shown not in BEFORE_HOLD):
                raise Refused("PT409 duplicate_booking")
            return mine
        if self.seats(slot) >= slot.capacity or slot.starts <= self.now:
            raise Refused("PT409 capacity_full")
        return None

    def prepare(self, booking: Booking, student: str) -> Payment:
        if booking.student != student:
            raise Refused("PT403 not_your_booking")
        if booking.status != "pending" or (booking.payment and booking.payment.shown not in BEFORE_HOLD):
            raise Refused("PT400 already_processed")
        if booking.payment is None:
            booking.payment = Payment(booking.payment_id, booking.slot.amount)
        return booking.payment

    def record(self, payment: Payment, intent: str) -> bool:
        """Whether this PaymentIntent may be paid."""
        booking = self.of(payment)
        if payment.intent is None:
            payment.intent = intent
        return not booking.is_dead and payment.intent == intent

    def decide(self, booking: Booking, expert: str, action: str) -> None:
        if booking.slot.expert != expert:
            raise Refused("PT403 not_your_booking")
        if booking.status != "pending":
            raise Refused("PT409 already_processed")
        payment = booking.payment
        if action == "decline":
            booking.end("declined", None, 100)
        elif payment is None or payment.shown not in ("authorized", "captured", "partially_refunded"):
            raise Refused("PT409 payment_not_authorized")
        elif (
            payment.shown == "authorized"
            and payment.capture_before is not None
            and payment.capture_before <= self.now
        ):
            raise Refused("PT409 authorization_expired")
        else:
            booking.status = "confirmed"
        self.settle()

    def terms(self, booking: Booking, actor: str) -> int:
        """What cancelling now would give back, in percent."""
        if actor not in (booking.student, booking.slot.expert):
            raise Refused("PT403 not_your_booking")
        if booking.status not in LIVE:
            raise Refused("PT409 already_processed")
        ahead = booking.slot.starts - self.now
        captured = booking.payment.captured if booking.payment else 0
        if (actor == booking.slot.expert and actor != booking.student) or (
            booking.status == "pending" and not captured
        ):
            return 100
        return 100 if ahead >= 24 * HOUR else 50 if ahead >= 2 * HOUR else 0

    def cancel(self, booking: Booking, actor: str) -> int:
        percent = self.terms(booking, actor)
        booking.end("cancelled", "student" if actor == booking.student else "expert", percent)
        self.settle()
        return percent

    def clean_up(self) -> None:
        for booking in list(self.bookings.values()):
            if booking.status == "pending" and booking.created <= self.now - TIMEOUT:
                booking.end("cancelled", "system", 100)
                booking.expired = True
        self.settle()

    def complete_past(self) -> None:
        for booking in self.bookings.values():
            if booking.status == "confirmed" and booking.slot.ends <= self.now:
                booking.status = "completed"

    def settle(self) -> None:
        """A dead booking's payment that never had a PaymentIntent has ended with it."""
        for payment in self.payments():
            if payment.intent is None and self.of(payment).is_dead and payment.status in BEFORE_HOLD:
                payment.status = "cancelled"

    # -- Checkout

    def begin_checkout(self, user: str, key: str, request: str) -> Order | None:
        """The order with which this key goes on, or None: there will be a new one."""
        known, until = self.order_keys.get((user, key), ("", 0.0))
        order = self.orders[known] if until > self.now else None
        if order is None or order.session is None:
            if user in self.locks and self.locks[user][1] > self.now:
                raise Refused("PT409 payment_in_progress")
            self.locks[user] = (request, self.now + LOCK_LIFE)
        return order if order is not None and (order.session is not None or order.is_live) else None

    def began(self, order: Order, key: str) -> None:
        for older in self.orders.values():
            if older.user == order.user and older.status == "pending":
                older.superseded_by = older.superseded_by or order.id
                older.status = "expired" if older.session is None else older.status
        self.orders[order.id] = order
        self.order_keys[order.user, key] = (order.id, self.now + KEY_LIFE)

    def finish_checkout(self, order: Order, request: str, session: str) -> None:
        if order.session not in (None, session):
            raise Refused("PT409 checkout_session_mismatch")
        order.session = session
        self.release_lock(order.user, request)

    def release_lock(self, user: str, request: str) -> None:
        if user in self.locks and self.locks[user][0] == request:
            del self.locks[user]

    def lapsed_locks(self) -> int:
        """How many a cleanup removes."""
        gone = [user for user, (_, until) in self.locks.items() if until <= self.now]
        for user in gone:
            del self.locks[user]
        return len(gone)

    def lose_orders(self) -> int:
        """How many orders end because nobody was told where to pay for them, and nobody will be."""
        lost = [
            each
            for each in self.orders.values()
            if each.status == "pending" and each.session is None and each.created <= self.now - KEY_LIFE
        ]
        for order in lost:
            order.status = "expired"
        return len(lost)

    def apply_session(self, session: Obj, event_type: str | None) -> None:
        """An order only climbs; a session that is not its own counts only when it is paid."""
        order = self.orders[session["metadata"]["order_id"]]
        done = ("checkout.session.completed", "checkout.session.async_payment_succeeded")
        target = "pending"
        if (event_type in done or (event_type is None and session["status"] == "complete")) and session[
            "payment_status"
        ] == "paid":
            target = "paid"
        elif event_type == "checkout.session.async_payment_failed":
            target = "failed"
        elif event_type == "checkout.session.expired" or (
            event_type is None and session["status"] == "expired"
        ):
            target = "expired"
        if order.session not in (None, session["id"]) and target != "paid":
            return
        order.session = order.session or session["id"]
        order.intent = order.intent or session["payment_intent"]
        order.status = max(order.status, target, key=LADDER.index)

    # -- what Stripe says

    def find(self, obj: Obj, kind: str) -> tuple[Payment | None, str | None]:
        intent = obj["id"] if kind == "payment_intent" else obj.get("payment_intent")
        if isinstance(intent, dict):
            intent = intent["id"]
        found = next((each for each in self.payments() if each.intent == intent and intent), None)
        return found or self.payment((obj.get("metadata") or {}).get("payment_id", "")), intent

    def event(self, event: Obj) -> str:
        """What process_webhook_event must answer; the effect is here then."""
        kind, obj = kind_of(event["type"]), event["data"]["object"]
        if kind == "checkout":
            self.apply_session(obj, event["type"])
            return "processed"
        if event["type"] not in KNOWN:
            return "ignored"
        payment, intent = self.find(obj, kind)
        if payment is None:
            return "ignored"
        self.apply(payment, intent, kind, obj, event["type"], float(event["created"]))
        return "processed"

    def apply(
        self,
        payment: Payment,
        intent: str | None,
        kind: str,
        obj: Obj,
        event_type: str | None,
        seen_at: float,
    ) -> None:
        target, captured = meaning(kind, obj, event_type)
        if payment.intent is None and intent is not None:
            payment.intent = intent
        if payment.intent != intent or (payment.status == "cancelled" and target == "captured"):
            return  # a stray one: it never enters the books
        if kind == "refund":
            payment_refund(payment, obj)
        elif kind == "dispute":
            known = payment.disputes.get(obj["id"])
            if known is None or known[1] not in ("won", "lost", "warning_closed"):
                newer = (
                    known is None or seen_at > known[0] or obj["status"] in ("won", "lost", "warning_closed")
                )
                if newer or (known is not None and seen_at == known[0] and obj["status"] > known[1]):
                    payment.disputes[obj["id"]] = (seen_at, obj["status"])
        else:
            self._apply_status(payment, obj, target, captured, seen_at, is_charge=kind == "charge")

    def _apply_status(
        self,
        payment: Payment,
        obj: Obj,
        target: str | None,
        captured: int,
        seen_at: float,
        *,
        is_charge: bool,
    ) -> None:
        booking = self.of(payment)
        was_captured = payment.captured > 0
        status = payment.status
        if target in BEFORE_HOLD:
            newer = (seen_at, BEFORE_HOLD.index(target)) >= (payment.seen_at, rank(status))
            if status in BEFORE_HOLD and newer:
                payment.status, payment.seen_at = target, seen_at
        elif target is not None and status in MAY_BECOME[target]:
            payment.status = target
        payment.captured = max(payment.captured, captured)
        if is_charge and obj["captured"]:
            released = obj["amount"] - obj["amount_captured"]
            payment.charge_refunded = max(payment.charge_refunded, obj["amount_refunded"] - released)
        if is_charge:
            card = (obj.get("payment_method_details") or {}).get("card") or {}
            payment.capture_before = card.get("capture_before") or payment.capture_before

        if payment.captured and booking.status == "pending" and booking.slot.mode == "instant":
            booking.status = "confirmed"
        elif payment.captured and not was_captured and booking.is_lapsed_hold:
            self._reseat(booking, payment)
        elif target == "cancelled" and payment.status == "cancelled" and booking.status in LIVE:
            booking.end("cancelled", "system", 100)

    def _reseat(self, booking: Booking, payment: Payment) -> None:
        slot = booking.slot
        returned = any(status not in ("failed", "canceled") for _, status in payment.refunds.values())
        if (
            payment.captured < payment.amount
            or payment.charge_refunded > 0
            or returned
            or payment.is_held
            or self.seats(slot) >= slot.capacity
            or slot.starts <= self.now
            or self.live(slot, booking.student) is not None
        ):
            return
        booking.payment = None
        new = Booking("", slot, booking.student, payment.id, self.now, "confirmed", payment=payment)
        self.reseated.append(new)

    def lose_hold(self, payment: Payment) -> None:
        """Stripe refused a capture: there is no hold any more."""
        if payment.status == "authorized":
            payment.status = "failed"
            booking = self.of(payment)
            if booking.status in LIVE:
                booking.end("cancelled", "system", 100)

    # -- what a reconciliation finds

    def differences(self, theirs: dict[str, Obj]) -> Differences:
        """Where we believe something else than these PaymentIntents of Stripe's books show."""
        found: Differences = {}
        for intent, entry in theirs.items():
            about = entry["metadata"]
            known, order = (
                self.payment(about.get("payment_id", "")),
                self.orders.get(about.get("order_id", "")),
            )
            payment = next((each for each in self.payments() if each.intent == intent), None)
            if payment is None and known is not None and known.intent is None and known.status != "cancelled":
                payment = known  # Stripe's word would be the first one
            if order is not None and order.intent not in (None, intent):
                order = None
            pairs: dict[str, tuple[Any, Any]] = {}
            if payment is not None and (payment.status != "cancelled" or is_left(entry)):
                pairs["captured"] = payment.captured, entry["captured"]
                pairs["refunded"] = payment.refunded, entry["refunded"]
                fits = ("cancelled",) if entry["hold_gone"] else FITS[entry["status"]]
                if payment.shown not in fits:
                    pairs["status"] = payment.shown, entry["status"]
            elif order is not None and (order.status == "paid" or is_left(entry)):
                pairs["captured"] = entry["amount"] * (order.status == "paid"), entry["captured"]
                if (order.status == "paid") != (entry["status"] == "succeeded"):
                    pairs["status"] = order.status, entry["status"]
            elif payment is None and order is None and is_left(entry):
                pairs["missing_here"] = None, f"{entry['status']} {entry['amount']} {entry['currency']}"
            for kind, (our, their) in pairs.items():
                if our != their:
                    found[intent, kind] = (our if our is None else str(our), str(their))
        return found


def is_left(entry: Obj) -> bool:
    """Whether a PaymentIntent has, or may still come to, money of somebody."""
    if entry["status"] == "succeeded":
        return bool(entry["captured"] > entry["refunded"])
    return entry["status"] != "canceled" and not entry["hold_gone"]


KNOWN = {
    "payment_intent.amount_capturable_updated",
    "payment_intent.succeeded",
    "payment_intent.processing",
    "payment_intent.requires_action",
    "payment_intent.payment_failed",
    "payment_intent.canceled",
    "charge.succeeded",
    "charge.captured",
    "charge.refunded",
    "charge.expired",
    "refund.created",
    "refund.updated",
    "refund.failed",
    "charge.dispute.created",
    "charge.dispute.updated",
    "charge.dispute.closed",
}


def kind_of(event_type: str) -> str:
    if event_type.startswith("checkout."):
        return "checkout"
    if event_type.startswith("charge.dispute."):
        return "dispute"
    return event_type.partition(".")[0]


def rank(status: str) -> int:
    return BEFORE_HOLD.index(status) if status in BEFORE_HOLD else 99


def meaning(kind: str, obj: Obj, event_type: str | None) -> tuple[str | None, int]:
    """The status that an object asks for, and what was captured. Without a type its own status speaks."""
    if kind == "payment_intent":
        received = int(obj.get("amount_received") or 0)
        if event_type is None:
            event_type = {
                "succeeded": "payment_intent.succeeded",
                "requires_capture": "payment_intent.amount_capturable_updated",
                "processing": "payment_intent.processing",
                "requires_action": "payment_intent.requires_action",
                "canceled": "payment_intent.canceled",
                "requires_payment_method": "payment_intent.payment_failed"
                if obj.get("last_payment_error")
                else "",
            }.get(obj["status"], "")
        target = {
            "payment_intent.succeeded": "captured" if received else "authorized",
            "payment_intent.amount_capturable_updated": "authorized",
            "payment_intent.processing": "processing",
            "payment_intent.requires_action": "requires_action",
            "payment_intent.payment_failed": "failed",
            "payment_intent.canceled": "cancelled",
        }.get(event_type)
        return target, received
    if kind == "charge":
        if obj["captured"]:
            return "captured", obj["amount_captured"]
        if event_type == "charge.expired":
            return "cancelled", 0
        if event_type == "charge.succeeded" and not obj["refunded"]:
            return "authorized", 0
    return None, 0


REFUND_ORDER = ("pending", "requires_action", "succeeded", "failed", "canceled")


def payment_refund(payment: Payment, obj: Obj) -> None:
    """A refund only moves forward; failed and canceled are final."""
    amount, status = payment.refunds.get(obj["id"], (obj["amount"], "pending"))
    if status not in ("failed", "canceled") and REFUND_ORDER.index(obj["status"]) > REFUND_ORDER.index(
        status
    ):
        status = obj["status"]
    payment.refunds[obj["id"]] = (amount, status)


def percent_of(amount: int, percent: int) -> int:
    """Half a cent goes up."""
    return (amount * percent + 50) // 100
