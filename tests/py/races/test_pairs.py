"""Everything that can happen to a booking against everything else, in both orders.

The first holds its transaction open, the second is seen waiting for it, then the first commits or rolls back.
What comes out must be what comes out when the two run one after the other (or the second alone): the same
answers, the same rows. So there is one legal outcome, and whoever comes too late gets a typed refusal.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from uuid import UUID

import pytest
from psycopg.types.json import Jsonb

from tests.py.races.helpers import CANCEL, CLEANUP, Arena, Outcome, Row, Sessions, new_name

DECIDE = (
    "select * from booking.confirm_booking_transaction(p_expert_id => %(expert)s,"
    " p_booking_id => %(booking)s, p_action => %(action)s)"
)
PREPARE = (
    "select * from booking.prepare_payment_intent(p_student_id => %(student)s, p_booking_id => %(booking)s)"
)
RECORD = (
    "select * from booking.record_payment_intent(p_payment_id => %(payment)s,"
    " p_stripe_payment_intent_id => %(intent)s)"
)
PROCESS = "select booking.process_webhook_event(p_event => %(event)s)"

EVENTS = {
    "authorized": ("payment_intent.amount_capturable_updated", "requires_capture"),
    "captured": ("payment_intent.succeeded", "succeeded"),
    "canceled": ("payment_intent.canceled", "canceled"),
    "payment_failed": ("payment_intent.payment_failed", "requires_payment_method"),
}
OPERATIONS = ("confirm", "decline", "cancel", "expert_cancels", "cleanup", *EVENTS)
STEPS = {
    "unpaid": ("test.prepare",),
    "instant": ("test.prepare",),
    "authorized": ("test.authorize",),
    "confirmed": ("test.authorize", "test.confirm"),
    "captured": ("test.capture",),
}
"""How a booking comes to where the race begins; it is due for the cleanup as long as it is pending."""
STARTS = ("unpaid", "authorized", "confirmed", "captured")
"""Where a booking that an expert decides on may be; in an instant slot there is nothing to decide."""


@dataclass(frozen=True)
class Case:
    """One booking and what its people and Stripe know of it."""

    booking: UUID
    slot: UUID
    student: str
    expert: str
    payment: UUID
    intent: str


def begin(arena: Arena, start: str) -> Case:
    """A booking that nobody else's race touches."""
    # a student who cancels late gets half of it back
    slot = arena.slot(hours=10, confirmation="instant" if start == "instant" else "expert")
    booking = arena.value("select test.book(%(slot)s)", {"slot": slot})
    for step in STEPS[start]:
        arena.value(f"select {step}(%(b)s)", {"b": booking})
    arena.run(
        "update booking.bookings set created_at = created_at - interval '1 hour' where id = %(b)s",
        {"b": booking},
    )
    row = arena.one(
        "select student_id, expert_id, payment_id, test.intent_id(id) as intent"
        " from booking.bookings where id = %(b)s",
        {"b": booking},
    )
    return Case(booking, slot, row["student_id"], row["expert_id"], row["payment_id"], row["intent"])


def finish(arena: Arena, case: Case) -> Row:
    """What became of the booking, without ids and times; later cleanups leave it alone."""
    found = arena.one(
        """
        select b.status::text, b.cancelled_by, b.cancellation_reason, b.refund_percent,
          b.confirmed_at is not null as was_confirmed, b.closed_at is not null as is_closed,
          p.status::text as payment, p.amount_captured, p.amount_refunded,
          p.stripe_cancelled_at is not null as is_canceled_at_stripe, test.seats_taken(b.slot_id) as seats,
          (select array_agg(row (e.from_status, e.to_status, e.actor = b.student_id, e.actor = b.expert_id,
             e.reason)::text order by e.id) from booking.booking_events e where e.booking_id = b.id) as trail,
          (select array_agg(row (c.operation, c.status, c.outcome, c.params -> 'amount')::text
             order by c.created_at, c.id)
             from booking.stripe_commands c where c.payment_id = p.id) as commands,
          (select array_agg(row (t.kind, t.amount)::text order by t.id)
             from booking.transfers t where t.payment_id = p.id) as ledger,
          (select array_agg(a.kind order by a.kind) from booking.alerts a
             where a.subject in (p.id::text, p.stripe_payment_intent_id)) as alerts
        from booking.bookings b left join booking.payments p on p.id = b.payment_id
        where b.id = %(b)s
        """,
        {"b": case.booking},
    )
    arena.run("update booking.bookings set created_at = now() where id = %(b)s", {"b": case.booking})
    return found


def operation(arena: Arena, case: Case, name: str) -> tuple[str, Row]:
    """The statement that does it, and its parameters."""
    people = {"booking": case.booking, "student": case.student, "expert": case.expert}
    match name:
        case "confirm" | "decline":
            return DECIDE, {**people, "action": name}
        case "cancel":
            return CANCEL, {**people, "who": case.student}
        case "expert_cancels":
            return CANCEL, {**people, "who": case.expert}
        case "cleanup":
            return CLEANUP, {}
        case "prepare":
            return PREPARE, people
        case "record":
            return RECORD, {"payment": case.payment, "intent": case.intent}
    kind, status = EVENTS[name]
    sent = {
        "id": new_name("evt"),
        "object": "event",
        "type": kind,
        "created": 1_800_000_000,
        "data": {"object": arena.value("select test.intent(%(b)s, %(s)s)", {"b": case.booking, "s": status})},
    }
    return PROCESS, {"event": Jsonb(sent)}


@dataclass(frozen=True)
class Answer:
    """What a caller was told, without ids and times."""

    code: str
    told: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, outcome: Outcome) -> Answer:
        shown = ("status", "payment_status", "refund_percent", "refund_amount", "cancelled_by", "is_live")
        row = outcome.rows[0] if outcome.rows else {}
        told = tuple(
            (key, str(value)) for key, value in row.items() if key in shown or key == "process_webhook_event"
        )
        return cls(outcome.code, told)


def role_of(name: str) -> str:
    return "booking_cron" if name == "cleanup" else "booking_app"


_known: dict[tuple[str, ...], tuple[list[Answer], Row]] = {}


def one_after_the_other(arena: Arena, start: str, names: Sequence[str]) -> tuple[list[Answer], Row]:
    """What the operations come to when nobody gets in between; always the same, so it is tried once."""
    if (start, *names) not in _known:
        case = begin(arena, start)
        answers = [Answer.of(arena.watch.call(*operation(arena, case, name))) for name in names]
        _known[start, *names] = answers, finish(arena, case)
    return _known[start, *names]


def assert_typed(answer: Answer) -> None:
    """A refusal of ours, never an error that nobody wrote a sentence about."""
    assert answer.code == "ok" or answer.code.startswith("PT4"), answer


def holds_booking(arena: Arena, case: Case) -> bool:
    """Whether somebody holds the booking."""
    probe = arena.watch.call(
        "select from booking.bookings where id = %(b)s for no key update nowait", {"b": case.booking}
    )
    return probe.sqlstate == "55P03"


def race(arena: Arena, sessions: Sessions, start: str, one: str, two: str, commits: bool) -> bool:
    """One race; whether the second was seen waiting for the first."""
    case = begin(arena, start)
    first, second = sessions[role_of(one)][0], sessions[role_of(two)][1]
    was = Answer.of(first.hold(*operation(arena, case, one)))
    held = holds_booking(arena, case)
    running = second.start(*operation(arena, case, two))
    waited = arena.settle(second, running)
    if held and two != "cleanup":
        assert waited, f"{two} did not wait for {one}"
        assert arena.blocked_by(second) == {first.pid}
    if two == "cleanup":
        assert not waited, "the cleanup waits for nobody"
    first.commit() if commits else first.rollback()
    came = Answer.of(running.result())
    if two == "cleanup" and held:
        came = Answer.of(second.call(CLEANUP))  # what it skipped, it gets the next time
    assert_typed(was)
    assert_typed(came)
    rows = finish(arena, case)
    assert ([was, came] if commits else [came], rows) == one_after_the_other(
        arena, start, [one, two] if commits else [two]
    )
    return waited


@pytest.mark.parametrize("two", OPERATIONS)
@pytest.mark.parametrize("one", OPERATIONS)
def test_a_pair_comes_out_as_if_one_had_waited_for_the_other(
    common_arena: Arena, sessions: Sessions, one: str, two: str
) -> None:
    waits = [
        race(common_arena, sessions, start, one, two, commits)
        for start in STARTS
        for commits in (True, False)
    ]
    assert any(waits) or two == "cleanup" or one == "cleanup"
    common_arena.assert_sound()


@pytest.mark.parametrize("commits", [True, False], ids=["commits", "rolls-back"])
@pytest.mark.parametrize(
    ("one", "two"),
    [*itertools.permutations(("prepare", "cancel", "decline", "cleanup"), 2), ("record", "cancel")],
)
def test_paying_against_ending_a_booking(
    common_arena: Arena, sessions: Sessions, one: str, two: str, commits: bool
) -> None:
    race(common_arena, sessions, "unpaid", one, two, commits)
    common_arena.assert_sound()


@pytest.mark.parametrize("commits", [True, False], ids=["commits", "rolls-back"])
@pytest.mark.parametrize(
    ("one", "two"),
    [*itertools.permutations(("captured", "cancel", "expert_cancels", "cleanup", "canceled"), 2)],
)
def test_a_payment_of_an_instant_slot_against_its_end(
    common_arena: Arena, sessions: Sessions, one: str, two: str, commits: bool
) -> None:
    """The payment confirms the booking; for one that has ended it is given back."""
    race(common_arena, sessions, "instant", one, two, commits)
    common_arena.assert_sound()


LOSERS = [
    # start, first, second, what the second is told, booking and payment at the end, the open command
    ("authorized", "confirm", "cancel", "ok", "cancelled/authorized", "capture_payment_intent"),
    (
        "authorized",
        "confirm",
        "decline",
        "PT409 already_processed",
        "confirmed/authorized",
        "capture_payment_intent",
    ),
    (
        "authorized",
        "confirm",
        "confirm",
        "PT409 already_processed",
        "confirmed/authorized",
        "capture_payment_intent",
    ),
    ("authorized", "confirm", "canceled", "ok", "cancelled/cancelled", None),
    ("authorized", "confirm", "payment_failed", "ok", "confirmed/authorized", "capture_payment_intent"),
    (
        "authorized",
        "cancel",
        "confirm",
        "PT409 already_processed",
        "cancelled/authorized",
        "cancel_payment_intent",
    ),
    ("authorized", "cancel", "captured", "ok", "cancelled/captured", "create_refund"),
    (
        "authorized",
        "decline",
        "cancel",
        "PT409 already_processed",
        "declined/authorized",
        "cancel_payment_intent",
    ),
    (
        "authorized",
        "cleanup",
        "confirm",
        "PT409 already_processed",
        "cancelled/authorized",
        "cancel_payment_intent",
    ),
    ("authorized", "canceled", "confirm", "PT409 already_processed", "cancelled/cancelled", None),
    ("unpaid", "authorized", "confirm", "ok", "confirmed/authorized", "capture_payment_intent"),
    ("unpaid", "cancel", "authorized", "ok", "cancelled/authorized", "cancel_payment_intent"),
    ("unpaid", "cleanup", "authorized", "ok", "cancelled/authorized", "cancel_payment_intent"),
    ("unpaid", "cleanup", "captured", "ok", "cancelled/captured", "create_refund"),
    ("unpaid", "decline", "payment_failed", "ok", "declined/failed", "cancel_payment_intent"),
    (
        "captured",
        "cancel",
        "expert_cancels",
        "PT409 already_processed",
        "cancelled/captured",
        "create_refund",
    ),
]


@pytest.mark.parametrize(("start", "one", "two", "told", "state", "command"), LOSERS)
def test_who_comes_second_finds_what_the_first_has_made(
    common_arena: Arena,
    sessions: Sessions,
    start: str,
    one: str,
    two: str,
    told: str,
    state: str,
    command: str | None,
) -> None:
    arena, case = common_arena, begin(common_arena, start)
    first, second = sessions[role_of(one)][0], sessions[role_of(two)][1]
    assert first.hold(*operation(arena, case, one)).code == "ok"
    running = second.start(*operation(arena, case, two))
    arena.wait_blocked(second, first, running)
    first.commit()
    assert running.result().code == told
    assert arena.value("select test.state(%(b)s)", {"b": case.booking}) == state
    found = arena.all(
        "select operation from booking.stripe_commands where status = 'pending' and stripe_id = %(i)s",
        {"i": case.intent},
    )
    assert [row["operation"] for row in found] == ([command] if command else [])
    finish(arena, case)
    arena.assert_sound()


def sampled(count: int, seed: int) -> list[tuple[str, tuple[str, ...]]]:
    rng = random.Random(seed)
    names = (*OPERATIONS, "prepare")
    return [(rng.choice(STARTS), tuple(rng.choices(names, k=3))) for _ in range(count)]


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_three_at_once_come_out_as_if_they_had_come_one_after_the_other(
    common_arena: Arena, sessions: Sessions, seed: int
) -> None:
    """All three wait for a booking that somebody holds; then it is let go. Twelve triples a seed."""
    arena, gate = common_arena, sessions[None][0]
    for start, names in sampled(12, seed):
        case = begin(arena, start)
        gate.hold("select from booking.slot_seats where slot_id = %(s)s for no key update", {"s": case.slot})
        gate.hold("select from booking.bookings where id = %(b)s for no key update", {"b": case.booking})
        running: list[tuple[str, Future[Outcome]]] = []
        for number, name in enumerate(names):
            session = sessions[role_of(name)][number]
            statement = session.start(*operation(arena, case, name))
            assert arena.settle(session, statement) is (name != "cleanup"), (name, statement)
            running.append((name, statement))
        gate.rollback()
        came = {number: Answer.of(each.result()) for number, (_, each) in enumerate(running)}
        for number, name in enumerate(names):
            assert_typed(came[number])
            if name == "cleanup":  # it skipped the booking, and comes again
                came[number] = Answer.of(sessions["booking_cron"][0].call(CLEANUP))
        rows = finish(arena, case)
        legal = []
        for order in set(itertools.permutations(range(3))):
            answers, other = one_after_the_other(arena, start, [names[each] for each in order])
            legal.append((dict(zip(order, answers, strict=True)), other))
        assert (came, rows) in legal, (seed, start, names)
    arena.assert_sound()
