"""What Stripe and the banks say late: holds that lapse, refunds that come back, disputes.

Each story ends in one way, whatever the moment at which its events arrive: at once, long after, or some of
them twice and in any order. The same booking, the same money, and the same alerts: those for which a person
is needed.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, LiteralString
from uuid import UUID

import psycopg
import stripe
from psycopg.types.json import Jsonb

from tests.chaos.place import Place
from tests.chaos.scenario import Control, Scenario, require, spread
from tests.chaos.scenarios.workers import wait
from tests.chaos.stage import Stage, fresh
from tests.py.mirror.world import PRICE, Booking, Row, World

HALF = PRICE // 2
PROMPT, LATE, SHUFFLED = "events at once", "events late", "events twice and in any order"
ACTS: dict[str, LiteralString] = {
    who: "select * from booking." + call
    for who, call in (
        ("confirms", "confirm_booking_transaction(p_expert_id => %(e)s, p_booking_id => %(b)s)"),
        (
            "declines",
            "confirm_booking_transaction(p_expert_id => %(e)s, p_booking_id => %(b)s, p_action => 'decline')",
        ),
        ("cancels", "cancel_booking_transaction(p_actor_id => %(u)s, p_booking_id => %(b)s)"),
        ("expert cancels", "cancel_booking_transaction(p_actor_id => %(e)s, p_booking_id => %(b)s)"),
    )
}
"""What people decide."""
CALL = r"/(capture|cancel)$|^/v1/refunds$"


@dataclass(frozen=True)
class End:
    """What a story must come to: status of the booking, payment (status, captured, refunded), who cancelled
    the booking, and the alerts that are open."""

    booking: str
    payment: tuple[str, int, int]
    cancelled_by: str | None = None
    alerts: tuple[str, ...] = ()


NOTHING = ("cancelled", 0, 0)
KEPT = ("captured", PRICE, 0)
HALVED = ("partially_refunded", PRICE, HALF)
RETURNED = ("refunded", PRICE, PRICE)


class Bank(Stage):
    """A stage whose events arrive as `mood` says. No server: Stripe and the banks are what is late here."""

    mood = PROMPT

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.rng = random.Random(0)
        self.waiting: list[Row] = []
        """Events that have not arrived yet."""

    # -- events

    def _fetch(self) -> None:
        new = self.control.events()[self.delivered :]
        self.delivered += len(new)
        self.waiting += new

    def deliver(self) -> list[str]:
        """All that have not arrived."""
        self._fetch()
        arrived, self.waiting = self.waiting, []
        return [self._deliver(event) for event in arrived]

    def _deliver(self, event: Row) -> str:
        came: str = self.db.scalar(
            "select * from booking.process_webhook_event(p_event => %(e)s)", {"e": Jsonb(event)}
        )
        require(came != "failed", f"an event failed: {event}")
        return came

    def tell(self) -> None:
        """Now events may arrive."""
        if self.mood == PROMPT:
            self.deliver()
        elif self.mood == SHUFFLED:
            self._fetch()
            some = self.rng.sample(self.waiting, self.rng.randint(0, len(self.waiting)))
            for event in some:
                self.waiting.remove(event)
            again = self.rng.sample(some, self.rng.randint(0, len(some)))
            for event in self.rng.sample(some + again, len(some + again)):
                self._deliver(event)

    # -- people and their banks

    def book(self, *, hours: float = 48) -> Booking:
        return World.book(self, hours=hours)

    def held(self, hours: float = 48, card: str = "pm_card_visa") -> Booking:
        """A booking with a hold on this card, and Stripe's word of it."""
        booking = self.book(hours=hours)
        intent = self.create_intent(booking)
        self.customer.v1.payment_intents.confirm(intent, {"payment_method": card})
        self.deliver()
        return Booking(booking.id, booking.payment_id, booking.student, booking.expert, intent)

    def taken(self, hours: float = 48, card: str = "pm_card_visa") -> Booking:
        """A booking that is confirmed and captured."""
        booking = self.held(hours, card)
        require(self.mirror.run(self.confirm(booking)) == "done", "a capture failed")
        self.deliver()
        return booking

    def act(self, who: str, booking: Booking) -> tuple[UUID | None, str | None]:
        """Somebody decides: the command that it queued, and the code of the refusal."""
        people = {"e": booking.expert, "u": booking.student, "b": booking.id}
        try:
            if who == "expires":
                self.sql.execute(
                    "update booking.bookings set created_at = now() - interval '1 hour' where id = %(b)s",
                    people,
                )
                self.sql.execute("select booking.cleanup_expired_bookings()")
                return None, None
            row = self.db.one(ACTS[who], people)
        except psycopg.Error as error:
            require((error.sqlstate or "").startswith("PT4"), f"not a refusal: {error}")
            return None, error.diag.message_primary
        assert row is not None
        return row["command_id"], None

    def ask(self, booking: Booking, amount: int | None = None) -> UUID:
        """The student wants money back."""
        request: UUID = self.db.scalar(
            "select * from booking.request_refund(p_student_id => %(u)s, p_booking_id => %(b)s,"
            " p_amount => %(a)s)",
            {"u": booking.student, "b": booking.id, "a": amount},
        )
        return request

    def decide(self, request: UUID, decision: str = "approve") -> UUID | None:
        """The administrator's word; the command that it queued."""
        row = self.db.one(
            "select * from booking.decide_refund_request(p_admin_id => 'admin', p_request_id => %(r)s,"
            " p_decision => %(d)s)",
            {"r": request, "d": decision},
        )
        assert row is not None
        return row["command_id"]  # type: ignore[no-any-return]

    def request(self, request: UUID) -> str:
        return str(
            self._row("select status::text from booking.refund_requests where id = %s", request)["status"]
        )

    def refunds(self, booking: Booking) -> list[str]:
        """Ids of Stripe's refunds, oldest first."""
        return [row["id"] for row in self.intent(booking.intent)["refunds"]]

    def hold_seat(self) -> Booking:
        """A student holds a seat in a class, and has its PaymentIntent."""
        slot, expert = self.offer(48)
        self.sql.execute("update booking.slots set confirmation = 'instant' where id = %s", (slot,))
        self.sql.execute("update booking.slot_seats set confirmation = 'instant' where slot_id = %s", (slot,))
        student = f"{expert}'s student"
        row = self.db.one(
            "select * from booking.prepare_class_payment(p_user_id => %(u)s, p_class_id => %(s)s)",
            {"u": student, "s": slot},
        )
        assert row is not None
        made = self.gateway.create_payment_intent(row)
        booking = Booking(row["booking_id"], row["payment_id"], student, expert, made["id"])
        self.record(booking, made["id"])
        return booking

    def try_to_pay(self, booking: Booking, card: str) -> None:
        """The customer tries; a card that is declined is no surprise."""
        with suppress(stripe.CardError):
            self.customer.v1.payment_intents.confirm(
                booking.intent, {"payment_method": card, "return_url": "https://shop.example"}
            )

    def refund_by_hand(self, booking: Booking, amount: int) -> None:
        """Somebody gives money back in Stripe's dashboard."""
        self.customer.v1.refunds.create({"payment_intent": booking.intent, "amount": amount})

    def pass_session(self, booking: Booking) -> None:
        """The session has taken place."""
        self.sql.execute(
            "update booking.bookings set scheduled_at = now() - interval '2 hours',"
            " ends_at = now() - interval '1 hour' where id = %s",
            (booking.id,),
        )
        self.sql.execute("select booking.complete_past_bookings()")

    def refused(self, act: Callable[[], object]) -> str | None:
        """The code with which somebody is refused; None if he is not."""
        try:
            act()
        except psycopg.Error as error:
            return error.diag.message_primary
        return None

    # -- the outbox

    def work(self) -> None:
        """A worker does what is left."""
        self.due()
        for claim in self.mirror.claim_due(limit=100, min_age=0):
            self.mirror.run_claimed(claim)

    def send(self, command: UUID | None) -> None:
        """The server carries it out at once; or Stripe's answer is lost; or it is left to a worker."""
        how = self.rng.choice(("at once", "answer lost", "left"))
        if how == "left":
            return
        if how == "answer lost":
            self.control.fault("apply_then_drop", times=9, method="POST", path_regex=CALL)
        self.mirror.run(command, wait=60)
        self.control.clear_faults()

    @contextmanager
    def during(self, command: UUID | None, when: str) -> Iterator[None]:
        """Inside, Stripe has the request of the command: before or after its effect."""
        self.control.barrier("bank", when=when, method="POST", path_regex=CALL)
        self.mirror.run(command, wait=0)
        self.control.wait_barrier("bank", timeout=60)
        yield
        self.control.release_barrier("bank")
        running = "select from booking.stripe_commands where id = %s and status = 'running'"
        wait(lambda: self.sql.execute(running, (command,)).fetchone() is None, "a command does not end")

    # -- afterwards

    def require_end(self, booking: Booking, end: End) -> None:
        row = self.booking(booking)
        found = (row["status"], row["cancelled_by"])
        require(found == (end.booking, end.cancelled_by), f"the booking is {found}")
        paid = self.payment(booking)
        came = (paid["status"], paid["amount_captured"], paid["amount_refunded"])
        require(came == end.payment, f"the payment came to {came}, not {end.payment}")
        alerts = sorted(self.alerts())
        require(alerts == sorted(end.alerts), f"alerts are open: {alerts}, not {sorted(end.alerts)}")
        self.require_sound(alerts=end.alerts)


Story = Callable[[Bank, str], tuple[Booking, End]]
"""Plays a variant. The end is looked at when everything has healed."""


# -- holds -------------------------------------------------------------------------------------------------


def hold_lapses(stage: Bank, who: str) -> tuple[Booking, End]:
    """It lapses, then somebody decides; Stripe's word of it may come before or after."""
    booking = stage.held()
    stage.control.lapse(booking.intent)
    stage.tell()
    known = stage.booking(booking)["status"] == "cancelled"
    command, refusal = stage.act(who, booking)
    if who != "expires":
        require((refusal == "already_processed") == known, f"who {who} was told {refusal}")
    stage.send(command)
    stage.tell()
    if known or who == "confirms":
        return booking, End("cancelled", NOTHING, "system")
    return booking, UNPAID[who]


def hold_lapses_unnoticed(stage: Bank, who: str) -> tuple[Booking, End]:
    """Stripe itself only notices when it is to capture; until then nobody is told."""
    booking = stage.held()
    stage.control.lapse(booking.intent, cancel=False)
    command, refusal = stage.act(who, booking)
    require(refusal is None, f"who {who} was told {refusal}")
    stage.send(command)
    stage.heal()
    return booking, End("cancelled", NOTHING, "system") if who == "confirms" else UNPAID[who]


def hold_lapses_meanwhile(stage: Bank, when: str) -> tuple[Booking, End]:
    """It lapses while Stripe has the capture, before or after its effect."""
    booking = stage.held()
    command, _ = stage.act("confirms", booking)
    with stage.during(command, when):
        stage.control.lapse(booking.intent)
        stage.tell()
    stage.tell()
    return booking, End("confirmed", KEPT) if when == "after" else End("cancelled", NOTHING, "system")


def hold_lapses_after_a_late_cancellation(stage: Bank, who: str) -> tuple[Booking, End]:
    """Confirmed, and cancelled before its capture was sent: half is kept, if the hold is still there."""
    booking = stage.held(hours=10)
    stage.act("confirms", booking)
    command, _ = stage.act("cancels", booking)
    lapses = who == "lapses"
    if lapses:
        stage.control.lapse(booking.intent)
    stage.tell()
    stage.send(command)
    stage.tell()
    return booking, End("cancelled", NOTHING if lapses else HALVED, "student")


def hold_lapses_after_the_session(stage: Bank, when: str) -> tuple[Booking, End]:
    """Stripe is away until the session has taken place, and then the hold is gone: a person is told."""
    booking = stage.held()
    command, _ = stage.act("confirms", booking)
    if when == "capture tried":
        stage.control.fault("503", times=1_000_000, method="POST", path_regex=CALL)
        stage.mirror.run(command, wait=60)
        stage.control.clear_faults()
    stage.pass_session(booking)
    stage.control.lapse(booking.intent)
    stage.tell()
    stage.send(command)
    return booking, End("completed", NOTHING, alerts=("session_unpaid",))


def hold_is_over_by_our_clock(stage: Bank, who: str) -> tuple[Booking, End]:
    """Nobody confirms a hold whose time is over, whether or not Stripe has said so."""
    booking = stage.held()
    stage.sql.execute(
        "update booking.payments set capture_before = now() where id = %s", (booking.payment_id,)
    )
    _, refusal = stage.act("confirms", booking)
    require(refusal == "authorization_expired", f"whoever confirms was told {refusal}")
    command, _ = stage.act(who, booking)
    stage.send(command)
    stage.control.lapse(booking.intent)
    stage.tell()
    return booking, UNPAID[who]


def payment_lapses(stage: Bank, how: str) -> tuple[Booking, End]:
    """Stripe ends a PaymentIntent that nobody has paid: not tried, declined, or in 3-D Secure."""
    booking = stage.book()
    intent = stage.create_intent(booking)
    booking = Booking(booking.id, booking.payment_id, booking.student, booking.expert, intent)
    card = {"declined": "pm_card_chargeDeclined", "in 3-D Secure": "pm_card_threeDSecure2Required"}.get(how)
    if card:
        stage.try_to_pay(booking, card)
    stage.tell()
    stage.customer.v1.payment_intents.cancel(intent, {"cancellation_reason": "abandoned"})
    stage.tell()
    known = stage.booking(booking)["status"] == "cancelled"
    if stage.rng.random() < 0.5:
        stage.act("expires", booking)
        return booking, End("cancelled", NOTHING, "system")
    _, refusal = stage.act("confirms", booking)
    require(refusal == ("already_processed" if known else "payment_not_authorized"), f"told {refusal}")
    return booking, End("cancelled", NOTHING, "system")


# -- refunds -----------------------------------------------------------------------------------------------


def refund_rejected(stage: Bank, whose: str) -> tuple[Booking, End]:
    """Stripe refuses it for good; a person mends that, and tries again."""
    booking = stage.taken(hours=10)
    refusal = {"type": "invalid_request_error", "code": "balance_insufficient", "message": "Too little."}
    fault: dict[str, Any] = {
        "status": 400,
        "error": refusal,
        "method": "POST",
        "path_regex": r"^/v1/refunds$",
    }
    if whose == "policy":
        command, _ = stage.act("cancels", booking)
        stage.control.fault("error", times=99, **fault)
        stage.drain()
        require(stage.alerts() == ["command_dead"], f"alerts are open: {stage.alerts()}")
        stage.control.clear_faults()
        stage.sql.execute("select booking.retry_stripe_command(%s, 'ann')", (command,))
        return booking, End("cancelled", HALVED, "student")
    request = stage.ask(booking, HALF)
    stage.control.fault("error", times=99, **fault)
    command = stage.decide(request)
    stage.drain()
    require(stage.alerts() == ["command_dead"], f"alerts are open: {stage.alerts()}")
    stage.control.clear_faults()
    if whose == "request, rejected":
        stage.decide(request, "reject")
        return booking, End("confirmed", KEPT)
    stage.sql.execute("select booking.retry_stripe_command(%s, 'ann')", (command,))
    return booking, End("confirmed", HALVED)


def refund_takes_long(stage: Bank, how: str) -> tuple[Booking, End]:
    """It is pending, perhaps until the customer says where the money shall go; then it arrives or not."""
    booking = stage.taken(hours=10, card="pm_card_pendingRefund")
    command, _ = stage.act("cancels", booking)
    stage.send(command)
    stage.tell()
    stage.work()
    (refund,) = stage.refunds(booking)
    require(stage.payment(booking)["amount_refunded"] == HALF, "a pending refund does not count")
    stage.tell()
    if "asked" in how:
        stage.control.require_refund_action(refund)
        stage.tell()
    if "arrives" in how:
        stage.control.succeed_refund(refund)
        return booking, End("cancelled", HALVED, "student")
    if "canceled" in how:
        stage.control.cancel_refund(refund)
    else:
        stage.control.fail_refund(refund)
    return booking, End("cancelled", KEPT, "student", ("refund_failed",))


def refund_comes_back(stage: Bank, whose: str) -> tuple[Booking, End]:
    """It succeeded, and fails later. That of the policy a person pays by hand; a request is decided anew."""
    booking = stage.taken(hours=10)
    if whose == "policy":
        command, _ = stage.act("cancels", booking)
        stage.send(command)
        stage.tell()
        stage.work()
        (refund,) = stage.refunds(booking)
        stage.control.fail_refund(refund)
        stage.tell()
        if stage.rng.random() < 0.5:
            return booking, End("cancelled", KEPT, "student", ("refund_failed",))
        stage.refund_by_hand(booking, HALF)
        return booking, End("cancelled", HALVED, "student", ("refund_failed",))
    request = stage.ask(booking, HALF)
    stage.send(stage.decide(request))
    stage.work()
    stage.tell()
    (refund,) = stage.refunds(booking)
    stage.control.fail_refund(refund)
    stage.deliver()
    require(stage.request(request) == "pending", "a request whose refund failed is not decided anew")
    if whose == "request, rejected":
        stage.decide(request, "reject")
        return booking, End("confirmed", KEPT)
    stage.send(stage.decide(request))
    return booking, End("confirmed", HALVED)


def refund_comes_back_during_its_call(stage: Bank, when: str) -> tuple[Booking, End]:
    """The bank sends it back before we have Stripe's answer, which says that it succeeded."""
    booking = stage.taken(hours=10)
    command, _ = stage.act("cancels", booking)
    if when == "answered later":
        with stage.during(command, "after"):
            stage.control.fail_refund(stage.refunds(booking)[0])
            stage.tell()
    else:
        stage.control.fault("apply_then_drop", times=9, method="POST", path_regex=CALL)
        stage.mirror.run(command, wait=60)
        stage.control.fail_refund(stage.refunds(booking)[0])
        stage.tell()
    return booking, End("cancelled", KEPT, "student", ("refund_failed",))


def refund_by_hand_first(stage: Bank, amount: str) -> tuple[Booking, End]:
    """Somebody refunds in the dashboard what the policy gives back, or all of it, before, during or after."""
    booking = stage.taken(hours=10)
    given = HALF if amount == "half" else PRICE
    moment = stage.rng.choice(("before", "between", "during"))
    if moment == "before":
        stage.refund_by_hand(booking, given)
        stage.deliver()
    command, _ = stage.act("cancels", booking)
    if moment == "between":
        stage.refund_by_hand(booking, given)
        stage.tell()
    if moment == "during":
        with stage.during(command, "before"):
            stage.refund_by_hand(booking, given)
            stage.tell()
    else:
        stage.send(command)
    stage.heal()
    # Nobody can know of what was not told yet: then both may have gone out.
    paid = stage.payment(booking)
    twice = given == HALF and moment != "before" and paid["amount_refunded"] == PRICE
    return booking, End("cancelled", RETURNED if twice or given == PRICE else HALVED, "student")


# -- disputes ----------------------------------------------------------------------------------------------

OUTCOMES = ("stays open", "won", "lost")
MOMENTS = ("before the decision", "before it is sent", "while it is sent", "after the refund")


def dispute_against_policy(stage: Bank, variant: str) -> tuple[Booking, End]:
    """The student cancels late and disputes: the refund waits, and is sent when the dispute is won."""
    moment, outcome = variant.split(", ")
    booking = stage.taken(hours=10)

    def cancel() -> UUID | None:
        return stage.act("cancels", booking)[0]

    dispute = at(stage, moment, booking, cancel)
    close(stage, dispute, outcome)
    if moment == "after the refund":
        return booking, End("cancelled", HALVED, "student", ("dispute",))
    if outcome == "won":
        return booking, End("cancelled", HALVED, "student", ("dispute",))
    return booking, End("cancelled", KEPT, "student", ("dispute", "refund_held_by_dispute"))


def dispute_against_a_request(stage: Bank, variant: str) -> tuple[Booking, End]:
    """A request was approved: it waits, is sent when the dispute is won, decided anew when it is lost."""
    moment, outcome = variant.split(", ")
    booking = stage.taken()
    request = stage.ask(booking, HALF)
    dispute = at(stage, moment, booking, lambda: stage.decide(request))
    if moment == "before the decision":
        refusal = stage.refused(lambda: stage.decide(request))
        require(refusal == "payment_disputed", f"an approval was answered with {refusal}")
    close(stage, dispute, outcome)
    stage.heal()
    status = stage.request(request)
    if moment == "after the refund" or outcome == "won":
        if status == "pending":  # it never was approved, or Stripe refused it before we knew: decided anew
            stage.send(stage.decide(request))
        return booking, End("confirmed", HALVED, alerts=("dispute",))
    if moment == "before the decision":
        return booking, End("confirmed", KEPT, alerts=("dispute",))
    if status == "approved":
        require(outcome == "stays open", "what was lost stays approved")
        return booking, End("confirmed", KEPT, alerts=("dispute", "refund_held_by_dispute"))
    return booking, End("confirmed", KEPT, alerts=("dispute", "refund_request_returned"))


def dispute_of_what_was_given_back(stage: Bank, outcome: str) -> tuple[Booking, End]:
    """Everything was refunded, then it is disputed: nothing is owed, and nothing is taken back."""
    booking = stage.taken()
    command, _ = stage.act("expert cancels", booking)
    stage.send(command)
    stage.work()
    stage.tell()
    dispute = stage.control.dispute(payment_intent=booking.intent)["id"]
    stage.tell()
    close(stage, dispute, outcome)
    return booking, End("cancelled", RETURNED, "expert", ("dispute",))


def inquiry(stage: Bank, outcome: str) -> tuple[Booking, End]:
    """The bank only asks; until it has its answer refunds wait all the same."""
    booking = stage.taken(hours=10)
    dispute = stage.control.dispute(payment_intent=booking.intent, status="warning_needs_response")["id"]
    stage.deliver()
    command, _ = stage.act("cancels", booking)
    require(command is None, "a refund is sent while the bank asks")
    stage.tell()
    if outcome == "stays open":
        return booking, End("cancelled", KEPT, "student", ("dispute", "refund_held_by_dispute"))
    close(stage, dispute, "won")
    return booking, End("cancelled", HALVED, "student", ("dispute",))


def two_disputes(stage: Bank, outcomes: str) -> tuple[Booking, End]:
    """As long as one of them is open or lost, refunds wait; the first that is won changes nothing."""
    booking = stage.taken(hours=10)
    disputes = [stage.control.dispute(payment_intent=booking.intent, amount=HALF)["id"] for _ in range(2)]
    stage.deliver()
    stage.act("cancels", booking)
    stage.rng.shuffle(disputes)
    for dispute, outcome in zip(disputes, outcomes.split(" and "), strict=True):
        close(stage, dispute, outcome)
    if outcomes == "won and won":
        return booking, End("cancelled", HALVED, "student", ("dispute", "dispute"))
    return booking, End("cancelled", KEPT, "student", ("dispute", "dispute", "refund_held_by_dispute"))


def dispute_during_a_pending_refund(stage: Bank, variant: str) -> tuple[Booking, End]:
    """The refund is on its way when the payment is disputed; it arrives, or the bank sends it back."""
    comes, outcome = variant.split(", ")
    booking = stage.taken(hours=10, card="pm_card_pendingRefund")
    command, _ = stage.act("cancels", booking)
    stage.send(command)
    stage.work()
    stage.tell()
    (refund,) = stage.refunds(booking)
    dispute = stage.control.dispute(payment_intent=booking.intent)["id"]
    stage.tell()

    steps = ["refund", "dispute"]
    stage.rng.shuffle(steps)
    for step in steps:
        if step == "dispute":
            close(stage, dispute, outcome)
        elif comes == "arrives":
            stage.control.succeed_refund(refund)
        else:
            stage.control.fail_refund(refund)
        stage.tell()
    if comes == "arrives":
        return booking, End("cancelled", HALVED, "student", ("dispute",))
    return booking, End("cancelled", KEPT, "student", ("dispute", "refund_failed"))


def class_is_paid_late(stage: Bank, how: str) -> tuple[Booking, End]:
    """A bank takes longer to pay for a class than the seat is held: seated again, or never charged."""
    booking = stage.hold_seat()
    stage.control.fault("503", times=9, method="POST", path_regex=CALL)
    stage.try_to_pay(booking, "pm_usBankAccount")
    stage.tell()
    stage.act("expires", booking)
    stage.work()
    stage.control.clear_faults()
    stage.tell()
    if how == "after we gave up":
        stage.heal()
        require(stage.intent(booking.intent)["status"] == "canceled", "what nobody waits for goes on")
        return booking, End("cancelled", NOTHING, "system")
    stage.control.settle(booking.intent, succeed=how == "before we gave up")
    stage.tell()
    stage.heal()
    if how == "never":
        return booking, End("cancelled", NOTHING, "system")
    moved = stage.payment(booking)["booking_id"]
    require(moved != booking.id, "the student is not seated again")
    return replace(booking, id=moved), End("confirmed", KEPT)


def at(stage: Bank, moment: str, booking: Booking, decide: Callable[[], UUID | None]) -> str:
    """A dispute is opened at a moment of a refund; its id."""

    def dispute() -> str:
        opened: str = stage.control.dispute(payment_intent=booking.intent)["id"]
        return opened

    if moment == "before the decision":
        opened = dispute()
        stage.deliver()
        stage.refused(decide)
        return opened
    command = decide()
    if moment == "before it is sent":
        opened = dispute()
        stage.tell()
        stage.send(command)
    elif moment == "while it is sent":
        with stage.during(command, "before"):
            opened = dispute()
            stage.tell()
    else:
        stage.send(command)
        stage.work()
        stage.tell()
        opened = dispute()
    stage.tell()
    return opened


def close(stage: Bank, dispute: str, outcome: str) -> None:
    if outcome != "stays open":
        stage.control.close_dispute(dispute, outcome)
    stage.tell()


UNPAID = {
    "declines": End("declined", NOTHING),
    "cancels": End("cancelled", NOTHING, "student"),
    "expires": End("cancelled", NOTHING, "system"),
}
"""What becomes of a booking without a hold."""
DECIDERS = ("confirms", "declines", "cancels", "expires")
DISPUTES = tuple(f"{moment}, {outcome}" for moment, outcome in product(MOMENTS, OUTCOMES))

STORIES: dict[Story, tuple[str, ...]] = {
    hold_lapses: DECIDERS,
    hold_lapses_unnoticed: DECIDERS,
    hold_lapses_meanwhile: ("before", "after"),
    hold_lapses_after_a_late_cancellation: ("lapses", "stays"),
    hold_lapses_after_the_session: ("capture tried", "capture not tried"),
    hold_is_over_by_our_clock: DECIDERS[1:],
    payment_lapses: ("not tried", "declined", "in 3-D Secure"),
    refund_rejected: ("policy", "request, tried again", "request, rejected"),
    refund_takes_long: ("arrives", "fails", "asked, arrives", "asked, fails", "asked, canceled"),
    refund_comes_back: ("policy", "request, approved again", "request, rejected"),
    refund_comes_back_during_its_call: ("answered later", "answer lost"),
    refund_by_hand_first: ("half", "all"),
    dispute_against_policy: DISPUTES,
    dispute_against_a_request: DISPUTES,
    dispute_of_what_was_given_back: OUTCOMES,
    inquiry: ("stays open", "closed"),
    two_disputes: ("won and stays open", "won and lost", "won and won"),
    dispute_during_a_pending_refund: tuple(
        f"{comes}, {outcome}" for comes, outcome in product(("arrives", "fails"), OUTCOMES)
    ),
    class_is_paid_late: ("before we gave up", "after we gave up", "never"),
}
KINDS = [
    (story, variant, mood)
    for story, variants in STORIES.items()
    for variant in variants
    for mood in (PROMPT, LATE, SHUFFLED)
]


class Holds(Scenario[Bank]):
    title = "Holds that lapse, refunds rejected, pending or sent back, disputes, at every moment"
    tries = len(KINDS)
    short = 12
    per_stage = 40
    controls = (
        Control(
            "a hold that is gone ends its booking",
            edits=(
                (
                    "payments/apply_stripe_object.sql",
                    "and v_payment.status = 'cancelled' and v_booking.status in ('pending', 'confirmed')",
                    "and false",
                ),
            ),
            tries=40,
            first=30,
        ),
        Control(
            "a refund that comes back is taken back",
            edits=(
                (
                    "payments/keep_books.sql",
                    "coalesce(sum(f.amount) filter (where f.status not in ('failed', 'canceled')), 0)",
                    "coalesce(sum(f.amount), 0)",
                ),
            ),
            tries=40,
            first=4,
        ),
        Control(
            "a dispute holds refunds back",
            edits=(
                ("refunds/is_refund_held.sql", "where d.payment_id = p_payment_id and", "where false and"),
            ),
            tries=40,
            first=5,
        ),
        Control(
            "a refund that was refused for a dispute waits for it",
            edits=(
                ("payments/apply_dispute.sql", "and c.status = 'dead'", "and false"),
                ("payments/fail_stripe_command.sql", "'charge_disputed' and booking", "'' and booking"),
            ),
            tries=40,
            first=8,
        ),
    )

    def stage(self, place: Place, removed: Control | None) -> AbstractContextManager[Bank]:
        return fresh(Bank, place, removed)

    def attempt(self, stage: Bank, number: int, rng: random.Random) -> str:
        story, variant, mood = spread(KINDS, number)
        name = story.__name__.replace("_", " ")
        stage.kind = f"{name}: {variant}, {mood}"
        stage.rng, stage.mood = rng, mood
        booking, end = story(stage, variant)
        stage.heal()
        stage.require_end(booking, end)
        stage.resolve_alerts()
        return name


SCENARIO = Holds
