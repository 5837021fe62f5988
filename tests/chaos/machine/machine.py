"""People, a server, two workers, Stripe and the clock, in whatever order Hypothesis draws.

After each step what is in the tables is compared with what is expected, and with Stripe's books. Nothing here
runs at the same time: a run is one connection whose transaction is taken back. But every step between two
commits is a step of its own (claimed, sent, answered, recorded), so that all else may happen in between.
"""

from __future__ import annotations

import itertools
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, ClassVar, LiteralString, TypeVar, cast
from uuid import UUID

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from psycopg.types.json import Jsonb

from glue.reconcile import KINDS
from glue.sandbox.errors import StripeError
from glue.stripe_gateway import Applied, Outcome, Refused, StripeFailure, Unknown
from tests.chaos.machine import expected
from tests.chaos.machine.books import WEBHOOK_ATTEMPTS, Answer, Books, Look, Row
from tests.chaos.machine.expected import (
    DEAD,
    EDGES,
    HOUR,
    Booking,
    Differences,
    Expected,
    Order,
    Payment,
    Slot,
)
from tests.chaos.machine.stripe import FAULTS, Account, RunClock
from tests.chaos.scenario import Violation, require

T = TypeVar("T")

STUDENTS = ("ann", "ben", "cleo", "eve")
"""The last one teaches, too."""
EXPERTS = ("eve", "max", "ida", "tom")
PRICE = 5001
"""Half of it is no whole cent."""

CARDS = (
    "pm_card_visa",
    "pm_card_chargeDeclined",
    "pm_card_threeDSecure2Required",
    "pm_card_pendingRefund",
    "pm_card_refundFail",
    "pm_card_createDispute",
)
MAINTENANCE = (
    None,
    None,
    "cleanup",
    "cleanup",
    "complete",
    "complete",
    "keys",
    "webhooks",
    "seats",
    "stats",
    "scrub",
)
TICK = 0.041
"""Seconds between two steps: many of them fall into one of Stripe's seconds."""
MONTH = 30 * 24 * HOUR - 60
WINDOWS = (1, 25, 24 * 365)
"""Hours that a reconciliation looks back."""

any_of = st.integers(0, 30)
fault = st.one_of(st.none(), st.sampled_from(FAULTS))


@dataclass
class Claim:
    """A command that a worker holds, as far as it has come with it."""

    row: Row
    worker: str
    outcome: Outcome | None = None


@dataclass
class Comparison:
    """A reconciliation that is under way."""

    run_id: UUID
    seen: dict[str, Row]
    """What Stripe showed of each PaymentIntent, and when it was asked (`at`)."""
    partly: set[str]
    """Those of which it showed not everything, since they are older than the window."""
    is_asked: bool = False
    """Whether the doubtful ones were asked for again."""


@dataclass
class Stage:
    """What all runs use one after the other."""

    books: Books
    account: Account
    clock: RunClock
    counts: Counter[str] = field(default_factory=Counter)


def pick(rows: Sequence[T], number: int) -> T:
    return rows[number % len(rows)]


class Machine(RuleBasedStateMachine):
    """One run. `stage` is set by a subclass."""

    stage: ClassVar[Stage]

    def __init__(self) -> None:
        super().__init__()
        stage = self.stage
        stage.counts["runs"] += 1
        self.books, self.account, self.clock = stage.books, stage.account, stage.clock
        self.account.reset()
        self.books.begin(self.clock.at)
        self.model = Expected()
        self.numbers = itertools.count(1)
        self.known_intents: list[str] = []
        self.unrecorded: list[tuple[str, str]] = []
        self.told: set[str] = set()
        self.delivered: dict[str, float] = {}
        """When each event came first."""
        self.unapplied: dict[str, int] = {}
        """Events whose effect could not be applied, and how often that was tried."""
        self.comparisons: list[Comparison] = []
        self.claims: list[Claim] = []
        self.purchases: list[tuple[Row, str]] = []
        self.retried: set[str] = set()
        self.look = Look([], {}, [], [], [], [], [], [], [])
        self.steps = 0

    def teardown(self) -> None:
        try:
            if sys.exc_info()[0] is None and self.model.slots:
                self.come_to_rest()
                self.check_the_end()
                self.reconcile_at_the_end()
                self.check_orders_at_the_end()
        finally:
            self.books.end()

    # -- the beginning

    @initialize(
        ahead=st.tuples(*[st.sampled_from((3, 30, 5, 200, 1))] * 4),
        far=st.lists(st.tuples(any_of, st.sampled_from(STUDENTS), st.integers(0, 9)), min_size=1, max_size=3),
    )
    def on_offer(self, ahead: tuple[int, ...], far: list[tuple[int, str, int]]) -> None:
        """Four slots, and some bookings that have come so far on the usual way."""
        kinds = (("expert", 1), ("expert", 2), ("instant", 1), ("instant", 17))
        self.now()
        for expert, (mode, capacity), hours in zip(EXPERTS, kinds, ahead, strict=True):
            session = self.call(
                "select booking.create_session(%(e)s, 'An hour', %(a)s, 'eur')", e=expert, a=PRICE
            ).value
            starts = self.clock.now() + hours * HOUR
            slot = self.call(
                "select booking.publish_slot(%(e)s, %(s)s, to_timestamp(%(b)s),"
                " to_timestamp(%(b)s) + interval '1 hour', %(c)s, %(m)s)",
                e=expert, s=session, b=starts, c=capacity, m=mode,
            ).value  # fmt: skip
            self.model.slots.append(Slot(str(slot), expert, mode, capacity, PRICE, starts, starts + HOUR))

        for number, student, steps in far:
            self.book(number, student, None)
            for _ in range(steps):
                self.go_on(0)

    # -- the usual way

    @precondition(lambda self: self.model.bookings)
    @rule(number=any_of)
    def go_on(self, number: int) -> None:
        """The next thing that nearly always happens to a booking."""
        booking = self.booking(number)
        payment = booking.payment
        if payment is None or payment.intent is None:
            self.begin_payment(number, None, True)
            return
        news = [event for event in self.account.events() if payment.intent in intents_of(event)]
        if news and news[-1]["id"] not in self.delivered:
            self.event(news[-1])  # those before it come later, or never
            return
        intent = self.account.intent(payment.intent)
        command = next(
            (
                row
                for row in self.books.look().commands
                if row["stripe_id"] == payment.intent and row["status"] in ("pending", "running")
            ),
            None,
        )
        if command is not None:
            self.run(command, None)
        elif intent["status"] in ("requires_payment_method", "requires_action"):
            self.at_stripe(lambda: self.account.pay(intent["id"], "pm_card_visa"))
        else:
            self.decide(number, None, "confirm")

    # -- students

    @rule(
        slot=any_of,
        student=st.sampled_from(STUDENTS),
        key=st.sampled_from((None, None, "k1", "k2")),
        held=st.booleans(),
    )
    def take_a_seat(self, slot: int, student: str, key: str | None, held: bool) -> None:
        if held and pick(self.model.slots, slot).mode == "instant":
            self.hold(slot, student)
        else:
            self.book(slot, student, key)

    def book(self, slot: int, student: str, key: str | None) -> None:
        where = pick(self.model.slots, slot)
        answer, earlier = self.ask(
            lambda: self.model.book(where, student, key),
            "select * from booking.create_booking_transaction(%(u)s, %(s)s, p_idempotency_key => %(k)s)",
            u=student, s=UUID(where.id), k=key,
        )  # fmt: skip
        if answer is None:
            return
        row = answer.row
        require(row["was_created"] == (earlier is None), f"was_created: {row}")
        if earlier is not None:
            require(
                (str(row["booking_id"]), row["status"]) == (earlier.id, earlier.status), f"another one: {row}"
            )
        else:
            self.model.booked(
                Booking(str(row["booking_id"]), where, student, str(row["payment_id"]), self.model.now), key
            )

    def hold(self, slot: int, student: str) -> None:
        where = pick(self.model.slots, slot)
        answer, earlier = self.ask(
            lambda: self.model.hold(where, student),
            "select * from booking.prepare_class_payment(%(u)s, %(s)s)",
            u=student, s=UUID(where.id),
        )  # fmt: skip
        if answer is None:
            return
        row = answer.row
        booking = earlier or Booking(
            str(row["booking_id"]), where, student, str(row["payment_id"]), self.model.now
        )
        require(str(row["booking_id"]) == booking.id, f"another hold: {row}")
        self.model.bookings[booking.id] = booking
        self.model.prepare(booking, student)

    @precondition(lambda self: self.model.bookings)
    @rule(number=any_of, weather=fault, record=st.booleans())
    def begin_payment(self, number: int, weather: str | None, record: bool) -> None:
        """The server prepares, creates the PaymentIntent and records it, or dies before that."""
        booking = self.booking(number)
        answer, _ = self.ask(
            lambda: self.model.prepare(booking, booking.student),
            "select * from booking.prepare_payment_intent(%(u)s, %(b)s)",
            u=booking.student, b=UUID(booking.id),
        )  # fmt: skip
        if answer is None:
            return
        row = answer.row
        if row["stripe_payment_intent_id"] is not None:
            return
        self.account.misbehave(weather)
        try:
            made = self.account.gateway.create_payment_intent(row)
        except StripeFailure:
            return
        finally:
            self.account.misbehave(None)
        self.known_intents.append(made["id"])
        if record:
            self.record(str(row["payment_id"]), made["id"])
        else:
            self.unrecorded.append((str(row["payment_id"]), made["id"]))

    @precondition(lambda self: self.unrecorded)
    @rule(number=any_of)
    def record_late(self, number: int) -> None:
        self.record(*self.unrecorded.pop(number % len(self.unrecorded)))

    def record(self, payment_id: str, intent: str) -> None:
        payment = self.model.payment(payment_id)
        assert payment is not None
        live = self.model.record(payment, intent)
        answer = self.call(
            "select * from booking.record_payment_intent(%(p)s, %(i)s)", p=UUID(payment_id), i=intent
        )
        require(answer.refusal == "", f"record: {answer}")
        require(answer.row["is_live"] == live, f"is_live: {answer.row}, expected {live}")

    @precondition(lambda self: self.payable())
    @rule(number=any_of, card=st.sampled_from(CARDS))
    def pay(self, number: int, card: str) -> None:
        self.at_stripe(lambda: self.account.pay(pick(self.payable(), number), card))

    def payable(self) -> list[str]:
        """PaymentIntents that a server knows and that want a card."""
        return [
            each for each in self.account.in_status("requires_payment_method") if each in self.known_intents
        ]

    @precondition(lambda self: self.account.in_status("requires_action"))
    @rule(number=any_of, succeed=st.booleans())
    def authenticate(self, number: int, succeed: bool) -> None:
        waiting = self.account.in_status("requires_action")
        self.at_stripe(lambda: self.account.authenticate(pick(waiting, number), succeed=succeed))

    def of_classes(self) -> list[Payment]:
        paid = [each for each in self.model.payments() if each.intent is not None]
        return [each for each in paid if self.model.of(each).slot.mode == "instant"]

    @precondition(lambda self: self.of_classes())
    @rule(number=any_of)
    def back_from_paying(self, number: int) -> None:
        """The browser says that a class is paid; the server retrieves the PaymentIntent and asks."""
        payment = pick(self.of_classes(), number)
        booking = self.model.of(payment)
        assert payment.intent is not None
        intent = self.account.gateway.show_payment_intent(payment.intent)
        if intent["status"] != "succeeded":
            want = "PT402 payment_not_succeeded"
        else:
            want = ""
            self.model.apply(
                payment,
                payment.intent,
                "payment_intent",
                dict(intent),
                "payment_intent.succeeded",
                self.model.now,
            )
        answer = self.call(
            "select * from booking.confirm_class_booking(%(u)s, %(s)s, %(i)s)",
            u=booking.student, s=UUID(booking.slot.id), i=Jsonb(dict(intent)),
        )  # fmt: skip
        require(answer.refusal == want, f"confirm_class_booking: {answer}, expected {want or 'a row'}")
        if not want:
            self.adopt(self.books.look())
            mine = self.model.of(payment)
            require(
                (str(answer.row["booking_id"]), answer.row["status"]) == (mine.id, mine.status),
                f"confirm_class_booking: {answer.row}, expected {mine}",
            )
            fine = mine.status in ("confirmed", "completed")
            require((answer.row["refusal"] is None) == fine, f"refusal: {answer.row}")

    # -- decisions

    @precondition(lambda self: self.model.bookings)
    @rule(
        number=any_of,
        expert=st.sampled_from((*EXPERTS, None, None)),
        action=st.sampled_from(("confirm", "decline")),
    )
    def decide(self, number: int, expert: str | None, action: str) -> None:
        booking = self.booking(number)
        who = expert or booking.slot.expert
        self.ask(
            lambda: self.model.decide(booking, who, action),
            "select * from booking.confirm_booking_transaction(%(e)s, %(b)s, %(a)s)",
            e=who, b=UUID(booking.id), a=action,
        )  # fmt: skip

    @precondition(lambda self: self.model.bookings)
    @rule(number=any_of, by_expert=st.booleans())
    def cancel(self, number: int, by_expert: bool) -> None:
        booking = self.booking(number)
        actor = booking.slot.expert if by_expert else booking.student
        quoted = self.call(
            "select * from booking.quote_cancellation(%(u)s, %(b)s)", u=actor, b=UUID(booking.id)
        )
        due = self.due(booking, actor)
        answer, percent = self.ask(
            lambda: self.model.cancel(booking, actor),
            "select * from booking.cancel_booking_transaction(%(u)s, %(b)s)",
            u=actor, b=UUID(booking.id),
        )  # fmt: skip
        require(
            quoted.refusal == "" if answer else quoted.refusal != "", f"quote and cancel differ: {quoted}"
        )
        if answer is not None:
            row = answer.row
            require(
                (row["refund_percent"], row["refund_amount"])
                == (quoted.row["refund_percent"], quoted.row["refund_amount"]),
                f"quoted {quoted.row}, given {row}",
            )
            require(row["refund_percent"] == percent, f"percent: {row}, expected {percent}")
            require(due is None or row["refund_amount"] == due, f"amount: {row}, expected {due}")

    def due(self, booking: Booking, actor: str) -> int | None:
        """What cancelling must give back, as long as nothing of it is on its way."""
        payment = booking.payment
        try:
            percent = self.model.terms(booking, actor)
        except expected.Refused:
            return None
        if payment is None:
            return 0
        if any(row["payment_id"] == payment.id for row in self.look.requests) or any(
            row["payment_id"] == payment.id and row["operation"] == "create_refund"
            for row in self.look.commands
        ):
            return None
        basis = payment.captured
        if not basis and booking.status == "confirmed" and payment.status == "authorized":
            basis = payment.amount
        failed = sum(
            amount for amount, status in payment.refunds.values() if status in ("failed", "canceled")
        )
        return max(0, expected.percent_of(basis, percent) - payment.refunded - failed)

    @precondition(lambda self: any(each.captured for each in self.model.payments()))
    @rule(number=any_of, amount=st.sampled_from((None, 1, 1000, 2501, PRICE)))
    def ask_for_money_back(self, number: int, amount: int | None) -> None:
        paid = [each for each in self.model.payments() if each.captured]
        payment = pick(paid, number)
        booking = self.model.of(payment)
        answer = self.call(
            "select booking.request_refund(%(u)s, %(b)s, %(a)s)",
            u=booking.student,
            b=UUID(booking.id),
            a=amount,
        )
        if payment.is_held:
            require(answer.refusal == "PT409 payment_disputed", f"request_refund: {answer}")
            return
        untouched = not any(row["payment_id"] == payment.id for row in self.look.requests) and not any(
            row["payment_id"] == payment.id and row["operation"] == "create_refund"
            for row in self.look.commands
        )
        if untouched and booking.status not in DEAD:
            left = payment.captured - payment.refunded
            fits = left > 0 and (amount is None or amount <= left)
            require(
                answer.refusal == ("" if fits else "PT409 refund_exceeds_captured"),
                f"request_refund of {amount}: {answer}, left {left}",
            )
        require(answer.refusal in ("", "PT409 refund_exceeds_captured"), f"request_refund: {answer}")

    @precondition(lambda self: self.look.requests)
    @rule(number=any_of, decision=st.sampled_from(("approve", "approve", "reject")))
    def decide_request(self, number: int, decision: str) -> None:
        request = pick(self.look.requests, number)
        answer = self.call(
            "select * from booking.decide_refund_request('root', %(r)s, %(d)s)",
            r=UUID(request["id"]),
            d=decision,
        )
        payment = self.model.payment(request["payment_id"])
        assert payment is not None
        allowed = {""}
        if request["status"] != "pending":
            allowed = {"", "PT409 already_processed"}
            agrees = (decision == "approve") == (request["status"] in ("approved", "refunded"))
            if agrees:
                allowed = {""}
        elif decision == "approve":
            allowed = {"PT409 payment_disputed"} if payment.is_held else {"", "PT409 refund_exceeds_captured"}
        require(answer.refusal in allowed, f"decide_refund_request: {answer}, expected {allowed}")

    # -- time

    @rule(
        minutes=st.sampled_from((0, 0, 0, 31, 31, 61, 150, 1500, 8 * 24 * 60)),
        what=st.sampled_from(MAINTENANCE),
    )
    def time_passes(self, minutes: int, what: str | None) -> None:
        self.pass_time(minutes * 60)
        if what is not None:
            self.maintain(what)

    @precondition(lambda self: self.unapplied)
    @rule(what=st.sampled_from(("retry", "retry", "retry in vain")))
    def retry_events(self, what: str) -> None:
        self.maintain(what)

    @precondition(lambda self: self.model.orders)
    @rule(minutes=st.sampled_from((0, 0, 1500)), what=st.sampled_from(("locks", "orders")))
    def clean_up_checkout(self, minutes: int, what: str) -> None:
        self.pass_time(minutes * 60)
        self.maintain(what)

    def maintain(self, what: str) -> None:
        calls: dict[str, LiteralString] = {
            "cleanup": "select booking.cleanup_expired_bookings(100, '30 minutes')",
            "complete": "select booking.complete_past_bookings()",
            "keys": "select booking.clean_expired_idempotency_keys()",
            "webhooks": "select archived from booking.cleanup_old_webhook_events()",
            "seats": "select booking.cleanup_orphaned_slots()",
            "stats": "select booking.roll_up_stats()",
            "scrub": "select booking.archive_old_bookings('1 hour', 100)",
            "retry": "select booking.retry_failed_webhooks()",
            "retry in vain": "select booking.retry_failed_webhooks()",
            "locks": "select booking.clean_expired_locks()",
            "orders": "select booking.expire_lost_orders()",
        }
        self.now()
        want = None
        if what == "cleanup":
            self.model.clean_up()
        elif what == "complete":
            self.model.complete_past()
        elif what == "seats":
            want = 0
        elif what == "locks":
            want = self.model.lapsed_locks()
            self.stage.counts["lapsed locks removed"] += want
        elif what == "orders":
            want = self.model.lose_orders()
            self.stage.counts["lost orders ended"] += want
        answer = self.call(calls[what], "booking_cron", is_sick=what == "retry in vain")
        require(answer.refusal == "", f"{what}: {answer}")
        if what.startswith("retry"):
            want = self.retried_events(is_sick=what != "retry")
        require(want in (None, answer.value), f"{what}: {answer}, expected {want}")

    def retried_events(self, *, is_sick: bool) -> int:
        """How many events have their effect now: the least tried come first, those given up not at all."""
        still = {row["stripe_event_id"] for row in self.books.look().failed}
        events = {event["id"]: event for event in self.account.events()}
        applied = 0
        for event_id, attempts in sorted(
            self.unapplied.items(), key=lambda each: (each[1], self.delivered[each[0]])
        ):
            if attempts >= WEBHOOK_ATTEMPTS:
                continue
            if is_sick and event_id in still:
                self.unapplied[event_id] += 1
                continue
            del self.unapplied[event_id]
            self.model.event(events[event_id])
            applied += 1
        self.stage.counts["events applied by the retries"] += applied
        return applied

    # -- the outbox

    @precondition(lambda self: self.open_commands())
    @rule(worker=st.sampled_from(("a", "b")), how=st.sampled_from(("due", "due", "unknown")))
    def claim(self, worker: str, how: str) -> None:
        """As the worker does, or who asks Stripe what came of commands whose outcome nobody knows."""
        if how == "unknown":
            answer = self.call("select * from booking.claim_unknown_command(%(w)s)", w=worker)
        else:
            answer = self.call(
                "select * from booking.claim_stripe_commands(%(w)s, 10, '1 minute', '0')", w=worker
            )
        self.claimed(answer, worker)

    def claimed(self, answer: Answer, worker: str) -> None:
        require(answer.refusal == "", f"claim: {answer}")
        for row in answer.rows:
            self.claims.append(Claim(row, worker))

    @precondition(lambda self: any(each.outcome is None for each in self.claims))
    @rule(number=any_of, weather=fault)
    def send(self, number: int, weather: str | None) -> None:
        claim = pick([each for each in self.claims if each.outcome is None], number)
        self.carry_out(claim, weather)

    def carry_out(self, claim: Claim, weather: str | None) -> None:
        self.account.misbehave(weather)
        claim.outcome = self.account.gateway.execute(claim.row)
        self.account.misbehave(None)

    @precondition(lambda self: any(each.outcome for each in self.claims))
    @rule(number=any_of)
    def report(self, number: int) -> None:
        """What came of it is recorded, in time or much too late."""
        claim = pick([each for each in self.claims if each.outcome], number)
        self.claims.remove(claim)
        self.recorded(claim)

    @precondition(lambda self: self.claims)
    @rule(number=any_of)
    def die(self, number: int) -> None:
        """The worker is gone, with what it knew."""
        self.claims.remove(pick(self.claims, number))

    @precondition(lambda self: self.open_commands())
    @rule(number=any_of, weather=fault)
    def run_at_once(self, number: int, weather: str | None) -> None:
        self.run(pick(self.open_commands(), number), weather)

    def run(self, wanted: Row, weather: str | None) -> None:
        """As the server does, right after its commit."""
        answer = self.call("select * from booking.claim_stripe_command(%(c)s, 'shim')", c=UUID(wanted["id"]))
        for row in answer.rows:
            claim = Claim(row, "shim")
            self.carry_out(claim, weather)
            self.recorded(claim)

    def recorded(self, claim: Claim) -> None:
        command = next(row for row in self.books.look().commands if row["id"] == str(claim.row["command_id"]))
        payment = self.model.payment(command["payment_id"] or "")
        match claim.outcome:
            case Applied(found):
                kind = "refund" if command["operation"] == "create_refund" else "payment_intent"
                if payment is not None:
                    self.model.apply(payment, command["stripe_id"], kind, dict(found), None, self.model.now)
                else:
                    self.model.apply_session(dict(found), None)
                answer = self.call(
                    "select booking.complete_stripe_command(%(c)s, %(w)s, %(r)s)",
                    c=claim.row["command_id"], w=claim.worker, r=Jsonb(dict(found)),
                )  # fmt: skip
            case Refused(error, retryable):
                answer = self.failed(claim, command, payment, error, retryable)
            case Unknown(error, _):
                answer = self.failed(claim, command, payment, error, True)
            case None:
                raise AssertionError("it was never sent")
        require(answer.refusal == "", f"recording: {answer}")

    def failed(
        self, claim: Claim, command: Row, payment: Payment | None, error: Any, retryable: bool
    ) -> Answer:
        session = error.get("checkout_session")
        if payment is None and isinstance(session, dict) and session["id"] == command["stripe_id"]:
            self.model.apply_session(session, None)
        intent = error.get("payment_intent")
        if payment is not None and isinstance(intent, dict) and intent["id"] == command["stripe_id"]:
            self.model.apply(payment, intent["id"], "payment_intent", intent, None, self.model.now)
            lost = (
                intent["status"] == "requires_payment_method"
                and command["operation"] == "capture_payment_intent"
            )
            if lost and error.get("code") == "payment_intent_unexpected_state":
                self.model.lose_hold(payment)
        return self.call(
            "select booking.fail_stripe_command(%(c)s, %(w)s, %(e)s, %(r)s)",
            c=claim.row["command_id"], w=claim.worker, e=Jsonb(dict(error)), r=retryable,
        )  # fmt: skip

    @precondition(lambda self: any(row["status"] == "dead" for row in self.look.commands))
    @rule(number=any_of)
    def retry_dead(self, number: int) -> None:
        dead = pick([row for row in self.look.commands if row["status"] == "dead"], number)
        answer = self.call(
            "select booking.retry_stripe_command(%(c)s, 'root')", "booking_dba", c=UUID(dead["id"])
        )
        require(answer.refusal in ("", "PT409 command_open", "PT409 nothing_due"), f"retry: {answer}")

    def open_commands(self) -> list[Row]:
        return [row for row in self.look.commands if row["status"] in ("pending", "running")]

    # -- Checkout

    @rule(user=st.sampled_from(("ann", "ben")), key=st.sampled_from(("c1", "c2", "c3")))
    def buy(self, user: str, key: str) -> None:
        """The server begins a purchase; it will create the session, or die."""
        request = f"request-{next(self.numbers)}"
        answer, earlier = self.ask(
            lambda: self.model.begin_checkout(user, key, request),
            "select * from booking.begin_checkout(%(u)s, 'book', %(k)s, %(r)s)",
            u=user, k=key, r=request,
        )  # fmt: skip
        if answer is None:
            return
        row = answer.row
        require(row["was_created"] == (earlier is None), f"was_created: {row}")
        if earlier is None:
            self.model.began(Order(str(row["order_id"]), user, self.model.now), key)
        else:
            require(
                (str(row["order_id"]), row["stripe_session_id"]) == (earlier.id, earlier.session),
                f"another one: {row}, expected {earlier}",
            )
        if row["stripe_session_id"] is None:
            self.purchases.append((row, request))

    @precondition(lambda self: self.purchases)
    @rule(number=any_of, weather=fault, told=st.booleans())
    def go_to_checkout(self, number: int, weather: str | None, told: bool) -> None:
        row, request = self.purchases.pop(number % len(self.purchases))
        order = self.model.orders[str(row["order_id"])]
        self.account.misbehave(weather)
        try:
            session = self.account.gateway.create_checkout_session(
                row, name="A book", success_url="https://x.test"
            )
        except StripeFailure:
            if told:
                self.model.release_lock(order.user, request)
                answer = self.call(
                    "select booking.abort_checkout(%(o)s, %(r)s, 'unknown: lost')",
                    o=row["order_id"],
                    r=request,
                )
                require(answer.value == order.status, f"abort_checkout: {answer}, expected {order}")
            return
        finally:
            self.account.misbehave(None)
        if not told:
            return
        finished, _ = self.ask(
            lambda: self.model.finish_checkout(order, request, session["id"]),
            "select * from booking.finish_checkout(%(o)s, %(r)s, %(s)s, %(l)s)",
            o=row["order_id"], r=request, s=session["id"], l=session.get("url"),
        )  # fmt: skip
        if finished is not None:
            require(finished.row["is_live"] == order.is_live, f"is_live: {finished}, expected {order}")

    @precondition(lambda self: self.account.rows("checkout.session"))
    @rule(number=any_of, card=st.sampled_from(("pm_card_visa", "pm_card_chargeDeclined", "pm_usBankAccount")))
    def pay_at_checkout(self, number: int, card: str) -> None:
        self.at_stripe(
            lambda: self.account.pay_session(pick(self.account.ids("checkout.session"), number), card)
        )

    @precondition(lambda self: self.account.in_status("processing"))
    @rule(number=any_of, succeed=st.booleans())
    def bank_answers(self, number: int, succeed: bool) -> None:
        waiting = self.account.in_status("processing")
        self.at_stripe(lambda: self.account.settle_session(pick(waiting, number), succeed=succeed))

    def check_orders(self, look: Look) -> None:
        """Each is as expected; paid is what was paid at Stripe, and nothing else."""
        ours = {row["id"]: shown_order_row(row) for row in look.orders}
        wanted = {each.id: shown_order(each) for each in self.model.orders.values()}
        require_same(ours, wanted)
        paid = {
            row["metadata"]["order_id"]
            for row in self.account.rows("checkout.session")
            if row["payment_status"] == "paid"
        }
        odd = [row for row in look.orders if row["status"] == "paid" and row["id"] not in paid]
        require(not odd, f"orders that nobody paid: {odd}")

    def check_orders_at_the_end(self) -> None:
        """Each paid session's order is paid; a session that was replaced is over; two payments are told."""
        orders = {row["id"]: row for row in self.look.orders}
        dead = {row["order_id"] for row in self.look.commands if row["status"] == "dead"}
        told = {each["subject"] for each in self.look.alerts if each["kind"] == "order_paid_twice"}
        for session in self.account.rows("checkout.session"):
            order = orders[session["metadata"]["order_id"]]
            what = f"{order}, at Stripe {session}"
            if session["payment_status"] == "paid":
                require(order["status"] == "paid", f"paid, and not known: {what}")
            is_own = order["stripe_session_id"] == session["id"]
            if is_own and order["superseded_by"] is not None and order["id"] not in dead:
                require(session["status"] != "open", f"it can still be paid: {what}")
            if is_own and session["status"] == "expired":
                require(order["status"] != "pending", f"it has run out: {what}")
            newer = orders.get(order["superseded_by"] or "")
            if newer is not None and order["status"] == newer["status"] == "paid":
                require(told, f"paid twice, and nobody was told: {what}")

    # -- events

    def waiting(self) -> list[Row]:
        return [event for event in self.account.events() if event["id"] not in self.delivered]

    @precondition(lambda self: self.waiting())
    @rule(number=any_of, is_sick=st.sampled_from((False, False, False, True)))
    def deliver(self, number: int, is_sick: bool) -> None:
        """One event, whichever; what is not delivered now may be later, or be lost until the end. One whose
        effect cannot be applied comes again, or the maintenance tries it again."""
        self.event(pick(self.waiting(), number), is_sick=is_sick)

    @precondition(lambda self: self.waiting())
    @rule()
    def deliver_all(self) -> None:
        for event in self.waiting():
            self.event(event)

    def recent(self) -> list[Row]:
        """Stripe keeps events for 30 days, and so does the archive: what is older does not come again."""
        since = self.clock.now() - MONTH
        return [event for event in self.account.events() if self.delivered.get(event["id"], since) > since]

    @precondition(lambda self: self.recent())
    @rule(number=any_of)
    def deliver_again(self, number: int) -> None:
        self.event(pick(self.recent(), number))

    def event(self, event: Row, *, is_sick: bool = False) -> None:
        event_id = event["id"]
        answer = self.call("select booking.process_webhook_event(%(e)s)", is_sick=is_sick, e=Jsonb(event))
        if event_id in self.delivered and event_id not in self.unapplied:
            want = "duplicate"
        elif is_sick and answer.value == "failed":  # some have nothing to write
            want = "failed"
            self.unapplied[event_id] = self.unapplied.get(event_id, 0) + 1
        else:
            want = self.model.event(event)
            self.unapplied.pop(event_id, None)
        self.delivered.setdefault(event_id, self.clock.now())
        require(answer.refusal == "" and answer.value == want, f"{event['type']}: {answer}, expected {want}")

    @precondition(lambda self: self.unapplied)
    @rule(number=any_of, is_sick=st.booleans())
    def deliver_failed(self, number: int, is_sick: bool) -> None:
        """Stripe was told that it failed, so it comes again, also when we have given it up."""
        event_id = pick(list(self.unapplied), number)
        event = next(each for each in self.account.events() if each["id"] == event_id)
        self.event(event, is_sick=is_sick)

    # -- both books side by side

    @precondition(lambda self: self.open_commands())
    @rule(weather=fault)
    def look_up(self, weather: str | None) -> None:
        """What a reconciliation does first: it asks Stripe for what nobody knows, and sends nothing."""
        answer = self.call("select * from booking.claim_unknown_command('looker')")
        for row in answer.rows:
            self.account.misbehave(weather)
            outcome = self.account.gateway.look_up(row)
            self.account.misbehave(None)
            if not isinstance(outcome, Applied):
                outcome = Unknown({"type": "looked_up", "message": "looked up, not sent"})
            self.recorded(Claim(row, "looker", outcome))

    @rule(hours=st.sampled_from(WINDOWS))
    def reconcile(self, hours: float) -> None:
        """From the beginning to the end, and nothing happens meanwhile."""
        self.finish(self.ask_again(self.read_stripe(hours)))

    @rule(hours=st.sampled_from(WINDOWS))
    def begin_comparison(self, hours: float) -> None:
        self.comparisons.append(self.read_stripe(hours))

    @precondition(lambda self: self.comparisons)
    @rule(number=any_of)
    def go_on_comparing(self, number: int) -> None:
        self.ask_again(pick(self.comparisons, number))

    @precondition(lambda self: any(each.is_asked for each in self.comparisons))
    @rule(number=any_of)
    def end_comparison(self, number: int) -> None:
        comparison = pick([each for each in self.comparisons if each.is_asked], number)
        self.comparisons.remove(comparison)
        self.finish(comparison)

    def read_stripe(self, hours: float) -> Comparison:
        """A run for what was created in so many hours, with Stripe's pages of it."""
        end = self.clock.at + timedelta(seconds=1)
        start = end - timedelta(hours=hours)
        answer = self.call("select booking.begin_reconciliation(%(f)s, %(t)s)", f=start, t=end)
        require(answer.refusal == "", f"begin_reconciliation: {answer}")
        for kind in KINDS:
            for page in self.account.gateway.pages(kind, start, end):
                self.show(answer.value, page)
        shown, whole = self.account.created(start.timestamp() // 1)
        seen = {intent: entry for intent, entry in self.entries().items() if intent in shown}
        return Comparison(answer.value, seen, shown - whole)

    def show(self, run_id: UUID, objects: list[Row]) -> None:
        answer = self.call("select booking.record_stripe_objects(%(r)s, %(o)s)", r=run_id, o=Jsonb(objects))
        require(answer.refusal == "" and answer.value == len(objects), f"record_stripe_objects: {answer}")

    def entries(self) -> dict[str, Row]:
        at = self.clock.now()
        return {intent: {**entry, "at": at} for intent, entry in self.account.books().items()}

    def ask_again(self, comparison: Comparison) -> Comparison:
        """Stripe is asked for the doubtful ones one by one, until there is no other one."""
        look = self.books.look()
        found = self.model.differences(comparison.seen)
        needed = {intent for intent, kind in found if not self.is_open(look, intent, kind)}
        asked: set[str] = set()
        while True:
            rows = self.call("select * from booking.list_doubtful_payments(%(r)s)", r=comparison.run_id).rows
            doubtful = {row["stripe_id"] for row in rows} - asked
            missed = (needed | comparison.partly) - doubtful - asked
            require(not missed, f"nobody doubts {missed}: {found}")
            if not doubtful:
                break
            entries = self.entries()
            for intent in sorted(doubtful):
                self.show(comparison.run_id, self.account.gateway.retrieve_whole(intent))
                comparison.seen[intent] = entries[intent]
            asked |= doubtful
            needed, comparison.partly = set(), set()
        comparison.is_asked = True
        return comparison

    def finish(self, comparison: Comparison) -> Differences:
        """It reports what the model knows to be different, all of it and nothing else."""
        look = self.books.look()
        found = self.model.differences(comparison.seen)
        changed = {
            row["stripe_payment_intent_id"]: row["changed_at"]
            for row in (*look.orders, *(each for each in look.bookings if each["has_payment"]))
        }
        wanted = {
            (intent, kind): pair
            for (intent, kind), pair in found.items()
            if not self.is_open(look, intent, kind)
            # ours went on after Stripe was asked
            and (kind == "missing_here" or changed.get(intent, 0) <= comparison.seen[intent]["at"])
        }
        answer = self.call("select * from booking.finish_reconciliation(%(r)s)", r=comparison.run_id)
        require(answer.refusal == "", f"finish_reconciliation: {answer}")
        reported = {(row["stripe_id"], row["kind"]): (row["ours"], row["theirs"]) for row in answer.rows}
        require(reported == wanted, f"the reconciliation reports {reported}, expected {wanted}")
        told = any(each["kind"] == "reconciliation_difference" for each in self.books.look().alerts)
        require(told or not reported, f"nobody was told of {reported}")
        self.stage.counts["reconciliations"] += 1
        self.stage.counts.update(f"differences: {kind}" for _, kind in reported)
        return reported

    @staticmethod
    def is_open(look: Look, intent: str, kind: str) -> bool:
        """Whether a command that waits for Stripe explains a difference."""
        ended = kind == "missing_here" or any(
            row["has_payment"]
            and row["stripe_payment_intent_id"] == intent
            and row["payment_status"] == "cancelled"
            for row in look.bookings
        )
        return any(
            row["stripe_id"] == intent
            and (ended or (kind == "refunded") == (row["operation"] == "create_refund"))
            for row in look.commands
            if row["status"] in ("pending", "running")
        )

    # -- somebody at Stripe's dashboard, and the banks

    @precondition(lambda self: self.known_intents)
    @rule(
        number=any_of,
        what=st.sampled_from(
            ("capture", "cancel", "refund", "refund some", "lapse", "lapse unseen", "dispute", "inquiry")
        ),
    )
    def elsewhere(self, number: int, what: str) -> None:
        intent = pick(self.known_intents, number)
        account = self.account
        actions: dict[str, Callable[[], Any]] = {
            "capture": lambda: account.post(f"/v1/payment_intents/{intent}/capture"),
            "capture some": lambda: account.post(
                f"/v1/payment_intents/{intent}/capture", amount_to_capture=3000
            ),
            "cancel": lambda: account.post(f"/v1/payment_intents/{intent}/cancel"),
            "refund": lambda: account.post("/v1/refunds", payment_intent=intent),
            "refund some": lambda: account.post("/v1/refunds", payment_intent=intent, amount=1200),
            "lapse": lambda: account.lapse(intent, cancel=True),
            "lapse unseen": lambda: account.lapse(intent, cancel=False),
            "dispute": lambda: account.dispute(intent, "needs_response"),
            "inquiry": lambda: account.dispute(intent, "warning_needs_response"),
        }
        self.at_stripe(actions[what])

    @precondition(lambda self: self.account.ids("dispute"))
    @rule(number=any_of, outcome=st.sampled_from(("won", "lost")))
    def end_dispute(self, number: int, outcome: str) -> None:
        self.at_stripe(
            lambda: self.account.settle_dispute(pick(self.account.ids("dispute"), number), outcome)
        )

    @precondition(lambda self: self.account.ids("refund"))
    @rule(number=any_of)
    def refund_comes_back(self, number: int) -> None:
        self.at_stripe(lambda: self.account.fail_refund(pick(self.account.ids("refund"), number)))

    @staticmethod
    def at_stripe(action: Callable[[], Any]) -> None:
        """What Stripe does not allow does not happen."""
        with suppress(StripeError):
            action()

    @precondition(lambda self: any(each.captured for each in self.model.payments()))
    @rule(number=any_of)
    def invoice(self, number: int) -> None:
        payment = pick([each for each in self.model.payments() if each.captured], number)
        answer = self.call("select * from booking.issue_invoice(%(p)s)", p=UUID(payment.id))
        require(answer.refusal == "", f"issue_invoice: {answer}")

    # -- after each step

    @invariant()
    def all_is_well(self) -> None:
        self.steps += 1
        self.stage.counts["steps"] += 1
        self.check()
        self.pass_time(TICK)

    def check(self) -> None:
        look = self.look = self.books.look()
        require(not look.broken, f"invariants are violated: {look.broken}")
        attempts = {row["stripe_event_id"]: row["attempts"] for row in look.failed}
        require(attempts == self.unapplied, f"events failed: {look.failed}, expected {self.unapplied}")
        told = {each["subject"] for each in look.alerts if each["kind"] == "webhook_failed"}
        require(told == self.unapplied.keys(), f"alerts of failed events: {told}, expected {self.unapplied}")
        self.adopt(look)
        ours = {row["id"]: shown_row(row) for row in look.bookings}
        wanted = {each.id: shown_booking(each) for each in self.model.bookings.values()}
        require_same(ours, wanted)
        seats = {each.id: self.model.seats(each) for each in self.model.slots}
        require(look.seats == seats, f"seats: {look.seats}, expected {seats}")
        edges = {(row["from_status"], row["to_status"]) for row in look.events}
        require(edges <= EDGES, f"illegal edges: {edges - EDGES}")
        self.check_money(look)
        self.check_orders(look)

    def adopt(self, look: Look) -> None:
        """A hold that lapsed and was paid all the same has a new booking, whose id the model learns here."""
        for row in look.bookings:
            if row["id"] in self.model.bookings:
                continue
            for new in self.model.reseated:
                if (new.payment_id, new.student) == (row["payment_id"], row["student_id"]):
                    self.model.reseated.remove(new)
                    new.id = row["id"]
                    self.model.bookings[new.id] = new
                    break
        require(not self.model.reseated, f"nobody was seated again: {self.model.reseated}")

    def check_money(self, look: Look) -> None:
        """At every moment we believe in no money that is not there, and give back no more than is owed."""
        books = self.account.books()
        for payment in self.model.payments():
            if payment.intent is None:
                continue
            theirs = books[payment.intent]
            require(payment.captured in (0, theirs["captured"]), f"captured: {payment}, at Stripe {theirs}")
            ever = sum(row["amount"] for row in theirs["refunds"])
            require(payment.refunded <= ever, f"refunded: {payment}, at Stripe {theirs}")
            booking = self.model.of(payment)
            limit = (
                expected.percent_of(theirs["captured"], booking.percent or 0) if booking.status in DEAD else 0
            )
            limit += sum(
                row["amount"]
                for row in look.requests
                if row["payment_id"] == payment.id and row["status"] in ("approved", "refunded")
            )
            given = sum(
                row["amount"]
                for row in theirs["refunds"]
                if "command_id" in row["metadata"] and row["status"] not in ("failed", "canceled")
            )
            unexpected = any(each["kind"] == "refund_unexpected" for each in look.alerts)
            require(
                given <= limit or unexpected, f"given back {given} of at most {limit}: {payment}, {booking}"
            )
        by_command: dict[str, int] = {}
        for theirs in books.values():
            for row in theirs["refunds"]:
                command = row["metadata"].get("command_id")
                if command is not None:
                    by_command[command] = by_command.get(command, 0) + 1
        twice = {key for key, count in by_command.items() if count > 1}
        require(not twice, f"carried out twice: {twice}")
        told = {each["subject"] for each in look.alerts if each["kind"] == "command_dead"}
        silent = [row for row in look.commands if row["status"] == "dead" and row["id"] not in told]
        require(not silent, f"dead, and nobody was told: {silent}")

    # -- the end

    def come_to_rest(self) -> None:
        """Nothing breaks any more: what is late arrives, the outbox is worked off, the unpaid expires."""
        self.account.misbehave(None)
        self.claims.clear()
        for _ in range(60):
            self.pass_time(2.1 * HOUR)  # more than the longest pause between two attempts
            self.maintain("cleanup")
            self.maintain("retry")
            for event in self.account.events():
                if event["id"] in self.unapplied:  # given up here, but not by Stripe
                    self.event(event)
            news = self.waiting()
            self.deliver_all()
            answer = self.call("select * from booking.claim_stripe_commands('last', 100)")
            for row in answer.rows:
                claim = Claim(row, "last")
                self.carry_out(claim, None)
                self.recorded(claim)
            self.check()
            if not news and not answer.rows and not self.open_commands() and not self.retry_all():
                return
        raise Violation(f"it does not come to rest: {self.open_commands()}")

    def retry_all(self) -> int:
        """A person has looked at what is dead, and lets it run once more. How many do."""
        retried = 0
        for row in self.look.commands:
            if row["status"] == "dead" and row["id"] not in self.retried:
                self.retried.add(row["id"])
                answer = self.call(
                    "select booking.retry_stripe_command(%(c)s, 'root')", "booking_dba", c=UUID(row["id"])
                )
                require(answer.refusal in ("", "PT409 command_open", "PT409 nothing_due"), f"retry: {answer}")
                retried += answer.refusal == ""
        return retried

    def check_the_end(self) -> None:
        """Who has a seat has paid once, who has none has back what is due, and both books say the same."""
        dead = {row["stripe_id"] for row in self.look.commands if row["status"] == "dead"}
        unpaid = {each["subject"] for each in self.look.alerts if each["kind"] == "session_unpaid"}
        kept = {payment.intent: payment for payment in self.model.payments() if payment.intent is not None}
        for intent, theirs in self.account.books().items():
            if "order_id" in theirs["metadata"]:
                continue
            payment = kept.get(intent)
            gone = theirs["status"] == "canceled" or self.account.is_expired(intent)
            if payment is None or (payment.status == "cancelled" and theirs["captured"]):
                # of the latter we heard only after its payment had ended
                self.check_stray(intent, theirs, gone=gone or intent in dead)
                continue
            booking = self.model.of(payment)
            what = f"{booking}, at Stripe {theirs}"
            require(
                (payment.captured, payment.refunded) == (theirs["captured"], theirs["refunded"]),
                f"the books differ: {what}",
            )
            require((payment.status == "cancelled") == gone, f"the books differ: {what}")
            if intent in dead:
                continue  # a person was told (check_money)
            if booking.status in DEAD:
                back = theirs["refunded"] + sum(
                    row["amount"] for row in theirs["refunds"] if row["status"] in ("failed", "canceled")
                )
                due = expected.percent_of(theirs["captured"], booking.percent or 0)
                require(back >= due or payment.is_held, f"{due} is due, {back} was given back: {what}")
                require(theirs["captured"] or gone, f"it can still be paid: {what}")
            else:
                # somebody may have captured less at the dashboard
                require(
                    theirs["captured"] in (3000, payment.amount) or booking.id in unpaid, f"not paid: {what}"
                )

    def check_stray(self, intent: str, theirs: Row, *, gone: bool) -> None:
        """A second PaymentIntent, or one that nobody knows: no money stays there."""
        failed = any(row["status"] in ("failed", "canceled") for row in theirs["refunds"])
        returned = theirs["refunded"] == theirs["captured"] or failed or theirs["disputed"]
        held = theirs["amount_capturable"] and not gone
        require(returned and not held, f"money stays at a stray PaymentIntent: {intent}, {theirs}")

    def reconcile_at_the_end(self) -> None:
        """What still differs has a reason: no money is there, a bank has taken it, or a person was told."""
        theirs = self.account.books()
        dead = {row["stripe_id"] for row in self.look.commands if row["status"] == "dead"}
        told = {each["subject"] for each in self.look.alerts}
        sessions = {row["payment_intent"]: row["id"] for row in self.account.rows("checkout.session")}
        for intent, kind in self.finish(self.ask_again(self.read_stripe(max(WINDOWS)))):
            entry = theirs[intent]
            about = {sessions.get(intent), *(row["id"] for row in entry["refunds"])}
            idle = kind == "missing_here" and not entry["captured"]
            require(
                idle or entry["disputed"] or intent in dead or told & about,
                f"{kind} differs, and nobody was told: {entry}",
            )

    # -- helpers

    def booking(self, number: int) -> Booking:
        """The newest ones first."""
        return pick(list(reversed(self.model.bookings.values())), number)

    def pass_time(self, seconds: float) -> None:
        self.clock.offset += seconds
        self.account.api.tick()
        self.now()

    def now(self) -> None:
        self.model.now = self.clock.now()
        self.books.set_time(self.clock.at)

    def call(
        self, query: LiteralString, role: str = "booking_app", *, is_sick: bool = False, **params: Any
    ) -> Answer:
        self.now()
        return self.books.call(query, role, is_sick=is_sick, **params)

    def ask(
        self, predict: Callable[[], T], query: LiteralString, role: str = "booking_app", **params: Any
    ) -> tuple[Answer | None, T]:
        """The answer and the prediction; no answer where it was refused, as predicted."""
        self.now()
        value, want = cast(T, None), ""
        try:
            value = predict()
        except expected.Refused as refusal:
            want = str(refusal)
        answer = self.books.call(query, role, **params)
        require(answer.refusal == want, f"{query}: {answer.refusal or answer}, expected {want or 'a row'}")
        return (None if want else answer), value


def require_same(ours: dict[str, Any], wanted: dict[str, Any]) -> None:
    odd = {key: (ours.get(key), wanted.get(key)) for key in ours.keys() | wanted.keys()}
    odd = {key: pair for key, pair in odd.items() if pair[0] != pair[1]}
    require(not odd, f"it is, but was expected: {odd}")


def intents_of(event: Row) -> set[str]:
    """PaymentIntents that an event is about."""
    found = event["data"]["object"]
    return {found["id"], found.get("payment_intent") or ""}


def shown_row(row: Row) -> tuple[Any, ...]:
    booking = (row["status"], row["cancelled_by"], row["refund_percent"])
    if not row["has_payment"]:
        return booking
    return (
        *booking,
        row["payment_status"],
        row["amount_captured"],
        row["amount_refunded"],
        row["stripe_payment_intent_id"],
    )


def shown_order_row(row: Row) -> tuple[Any, ...]:
    names = ("user_id", "status", "stripe_session_id", "stripe_payment_intent_id", "superseded_by")
    return tuple(row[name] for name in names)


def shown_order(order: Order) -> tuple[Any, ...]:
    return (order.user, order.status, order.session, order.intent, order.superseded_by)


def shown_booking(booking: Booking) -> tuple[Any, ...]:
    own = (booking.status, booking.by, booking.percent)
    payment = booking.payment
    if payment is None:
        return own
    return (*own, payment.shown, payment.captured, payment.refunded, payment.intent)
