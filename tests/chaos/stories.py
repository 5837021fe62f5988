"""What may happen to a payment at Stripe: recorded once with the sandbox, as steps that can be told again.

A step is an event of Stripe's, a decision of ours (confirm, decline, cancel), or Stripe's answer to what the
decision asked of it. `after` says what cannot have come later; of each of `needs` one must have come before,
since the decision would not be possible, or be another one.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from uuid import UUID

from tests.chaos.cases import CHECKOUT
from tests.py.mirror.world import Booking, Row

if TYPE_CHECKING:
    from tests.chaos.stage import Stage

HOLDS = ("charge.succeeded", "payment_intent.amount_capturable_updated")
CAPTURES = ("charge.succeeded", "charge.captured", "payment_intent.succeeded", "answer")
REFUNDS = ("refund.created", "charge.refunded")
NEEDS = {"confirm": (HOLDS,), "refund": (CAPTURES, REFUNDS)}
_STRIPE_ID = re.compile(
    r"\b(pi|ch|py|re|pyr|dp|du|cs|cs_test|evt|txn|pm|trr|req)_(?!secret)[A-Za-z0-9]{6,}\b"
)


@dataclass(frozen=True)
class Step:
    """`what` is for people; `told` goes to play.play()."""

    what: str
    told: Row
    after: frozenset[int] = frozenset()
    needs: tuple[frozenset[int], ...] = ()

    @property
    def is_event(self) -> bool:
        return bool(self.told["do"] == "event")


@dataclass(frozen=True)
class Tale:
    """The steps in the order in which they happened. `slot`: confirmation and hours until it begins; None: a
    purchase."""

    name: str
    slot: tuple[str, int] | None
    steps: tuple[Step, ...]

    def orders(self, most: int, drawn: int, rng: random.Random) -> list[tuple[int, ...]]:
        """Every possible order, the real one first; where there are more than `most`, so many drawn ones."""
        found: list[tuple[int, ...]] = []
        for order in self._all(()):
            found.append(order)
            if len(found) > most:
                real = tuple(range(len(self.steps)))
                return [real, *(self._drawn(rng) for _ in range(drawn - 1))]
        return found

    def possible(self, told: frozenset[int]) -> list[int]:
        """What may come next; nothing once all is told."""
        return [
            number
            for number, step in enumerate(self.steps)
            if number not in told
            and step.after <= told
            and not any(told.isdisjoint(need) for need in step.needs)
        ]

    def _all(self, told: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
        if len(told) == len(self.steps):
            yield told
        for number in self.possible(frozenset(told)):
            yield from self._all((*told, number))

    def _drawn(self, rng: random.Random) -> tuple[int, ...]:
        told: tuple[int, ...] = ()
        while len(told) < len(self.steps):
            told = (*told, rng.choice(self.possible(frozenset(told))))
        return told


@dataclass
class Recorder:
    """Lives through a story at the stage and writes it down."""

    stage: Stage
    steps: list[tuple[str, Row]] = field(default_factory=list)

    def events(self) -> None:
        """What Stripe has said since; ours hears it too."""
        fresh = self.stage.control.events()[self.stage.delivered :]
        self.steps += [(event["type"], {"do": "event", "event": event}) for event in fresh]
        self.stage.deliver()

    def decide(self, booking: Booking, what: str) -> None:
        """A decision, and Stripe's answer to the call that it leads to."""
        stage = self.stage
        command = stage.cancel(booking) if what == "cancel" else stage.confirm(booking, what)
        self.steps.append((what, {"do": what}))
        if stage.mirror.run(command) != "done":
            raise AssertionError(f"{what} was not done")
        operation = stage.command(command)["operation"]
        intent = stage.customer.v1.payment_intents.retrieve(booking.intent).to_dict()
        if operation == "create_refund":
            refunds = stage.customer.v1.refunds.list({"payment_intent": booking.intent}).to_dict()["data"]
            self.kinds[len(self.steps) - 1] = "refund"
            [intent] = [row for row in refunds if row["metadata"].get("command_id") == str(command)]
        self.steps.append(("answer", {"do": "answer", "object": intent}))
        self.ids[str(command)] = "COMMAND"
        self.events()

    ids: dict[str, str] = field(default_factory=dict)
    """Our ids, and the words that stand for them."""
    kinds: dict[int, str] = field(default_factory=dict)
    """Which decisions led to a refund."""

    def tale(self, name: str, slot: tuple[str, int] | None) -> Tale:
        """What was written down, without the ids."""
        text = json.dumps([told for _, told in self.steps])
        for known, word in self.ids.items():
            text = text.replace(known, word)
        numbers: dict[str, str] = {}
        counts: dict[str, int] = {}

        def numbered(match: re.Match[str]) -> str:
            kind, found = match[1], match[0]
            if found not in numbers:
                counts[kind] = counts.get(kind, 0) + 1
                numbers[found] = f"{kind}_{counts[kind]}TAG"
            return numbers[found]

        steps: list[Step] = []
        ours: list[int] = []
        for number, told in enumerate(json.loads(_STRIPE_ID.sub(numbered, text))):
            what = self.steps[number][0]
            caused_by = [at for at in ours if steps[at].told["do"] != "answer"][-1:]
            if told["do"] == "event":
                after, needs = caused_by, []
            else:
                after = ours[-1:]
                kinds = NEEDS.get(self.kinds.get(number, what), ())
                needs = [frozenset(at for at in range(number) if steps[at].what in each) for each in kinds]
                ours.append(number)
            steps.append(Step(what, told, frozenset(after), tuple(need for need in needs if need)))
        return Tale(name, slot, tuple(steps))


Plot = Callable[[Recorder, Booking], None]


def _pay(card: str = "pm_card_visa") -> Plot:
    def pay(recorder: Recorder, booking: Booking) -> None:
        recorder.stage.customer.v1.payment_intents.confirm(booking.intent, {"payment_method": card})
        recorder.events()

    return pay


def _declined(recorder: Recorder, booking: Booking) -> None:
    import stripe

    try:
        _pay("pm_card_chargeDeclined")(recorder, booking)
    except stripe.CardError:
        recorder.events()


def _secure(recorder: Recorder, booking: Booking) -> None:
    _pay("pm_card_threeDSecure2Required")(recorder, booking)
    recorder.stage.control.authenticate(booking.intent)
    recorder.events()


def _insecure(recorder: Recorder, booking: Booking) -> None:
    _pay("pm_card_threeDSecure2Required")(recorder, booking)
    recorder.stage.control.authenticate(booking.intent, succeed=False)
    recorder.events()


def _decide(what: str) -> Plot:
    return lambda recorder, booking: recorder.decide(booking, what)


def _refunded(amount: int) -> Plot:
    def refund(recorder: Recorder, booking: Booking) -> None:
        """By hand, in Stripe's dashboard."""
        recorder.stage.customer.v1.refunds.create({"payment_intent": booking.intent, "amount": amount})
        recorder.events()

    return refund


def _refund(recorder: Recorder, booking: Booking) -> str:
    [row] = recorder.stage.customer.v1.refunds.list({"payment_intent": booking.intent}).to_dict()["data"]
    return str(row["id"])


def _refund_fails(recorder: Recorder, booking: Booking) -> None:
    recorder.stage.control.fail_refund(_refund(recorder, booking))
    recorder.events()


def _refund_arrives(recorder: Recorder, booking: Booking) -> None:
    recorder.stage.control.succeed_refund(_refund(recorder, booking))
    recorder.events()


def _disputed(outcome: str) -> Plot:
    def dispute(recorder: Recorder, booking: Booking) -> None:
        made = recorder.stage.control.dispute(payment_intent=booking.intent)
        recorder.events()
        recorder.stage.control.close_dispute(made["id"], outcome)
        recorder.events()

    return dispute


def _lapses(recorder: Recorder, booking: Booking) -> None:
    recorder.stage.control.lapse(booking.intent)
    recorder.events()


_CONFIRM, _DECLINE, _CANCEL = _decide("confirm"), _decide("decline"), _decide("cancel")

EXPERT: dict[str, tuple[Plot, ...]] = {
    "authorize, capture": (_pay(), _CONFIRM),
    "authorize, decline": (_pay(), _DECLINE),
    "authorize, cancel": (_pay(), _CANCEL),
    "card declined, authorize, capture": (_declined, _pay(), _CONFIRM),
    "card declined, decline": (_declined, _DECLINE),
    "3-D Secure, capture": (_secure, _CONFIRM),
    "3-D Secure fails, authorize, capture": (_insecure, _pay(), _CONFIRM),
    "the hold lapses": (_pay(), _lapses),
    "capture, cancel": (_pay(), _CONFIRM, _CANCEL),
    "capture, two refunds in the dashboard": (_pay(), _CONFIRM, _refunded(1000), _refunded(500)),
    "capture, refund in the dashboard, cancel": (_pay(), _CONFIRM, _refunded(1000), _CANCEL),
    "capture, cancel, the refund fails later": (_pay(), _CONFIRM, _CANCEL, _refund_fails),
    "capture, cancel, the refund is pending": (
        _pay("pm_card_pendingRefund"),
        _CONFIRM,
        _CANCEL,
        _refund_arrives,
    ),
    "capture, a dispute is won": (_pay(), _CONFIRM, _disputed("won")),
    "capture, a dispute is lost": (_pay(), _CONFIRM, _disputed("lost")),
}
INSTANT: dict[str, tuple[Plot, ...]] = {
    "instant": (_pay(),),
    "instant, card declined first": (_declined, _pay()),
    "instant, 3-D Secure": (_secure,),
    "instant, cancel": (_pay(), _CANCEL),
    "instant, refund in the dashboard": (_pay(), _refunded(5000)),
    "instant, disputed": (_pay("pm_card_createDispute"),),
}
CHECKOUTS = ("paid", "expired", "paid by the bank later", "the bank refuses")
NAMES = (*EXPERT, *INSTANT, "capture, cancel late", *(f"Checkout: {name}" for name in CHECKOUTS))


def record(stage: Stage, name: str) -> Tale:
    """Live through the story of this name."""
    recorder = Recorder(stage)
    if name.startswith("Checkout: "):
        return _checkout(recorder, name)
    plots = EXPERT.get(name) or INSTANT.get(name) or (_pay(), _CONFIRM, _CANCEL)
    slot = ("instant" if name in INSTANT else "expert", 12 if name.endswith("late") else 48)
    row = stage.sql.execute("select play.slot(%s, 5000, %s) as id", slot).fetchone()
    assert row is not None
    student = f"student-{row['id']}"
    made = stage.db.one(
        "select * from booking.create_booking_transaction(p_student_id => %(u)s, p_slot_id => %(s)s)",
        {"u": student, "s": row["id"]},
    )
    assert made is not None
    booking = Booking(made["booking_id"], made["payment_id"], student, made["expert_id"])
    booking = Booking(booking.id, booking.payment_id, student, booking.expert, stage.create_intent(booking))
    recorder.ids = {str(booking.id): "BOOKING", str(booking.payment_id): "PAYMENT"}
    for plot in plots:
        plot(recorder, booking)
    recorder.events()
    return recorder.tale(name, slot)


def _checkout(recorder: Recorder, name: str) -> Tale:
    stage, what = recorder.stage, name.removeprefix("Checkout: ")
    purchase = CHECKOUT.before(stage)
    CHECKOUT.create(stage, purchase, stage.gateway)
    order: Row = CHECKOUT.order(stage, purchase)
    session = order["stripe_session_id"]
    recorder.ids = {str(order["id"]): "ORDER"}
    if what == "expired":
        stage.customer.v1.checkout.sessions.expire(session)
    else:
        bank = what != "paid"
        stage.control.pay_session(session, "pm_usBankAccount" if bank else "pm_card_visa")
        if bank:
            recorder.events()
            intent = stage.customer.v1.checkout.sessions.retrieve(session).to_dict()["payment_intent"]
            stage.control.settle(intent, succeed=what != "the bank refuses")
    recorder.events()
    return recorder.tale(name, None)


def slot_of(stage: Stage, tale: Tale) -> UUID | None:
    """A place for the bookings of a tale; None where it is no booking."""
    if tale.slot is None:
        return None
    row = stage.sql.execute("select play.slot(%s, 5000, %s) as id", tale.slot).fetchone()
    assert row is not None
    return UUID(str(row["id"]))
