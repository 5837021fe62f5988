"""Everything that may happen to a booking at once, two and three at a time, in every order of their steps.

The isolation tester that comes with PostgreSQL runs them. What comes out of transactions that overlap must be
what comes out of some order of them one after the other: the same answers, the same rows, the same alerts.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import chain, combinations, pairwise
from pathlib import Path
from typing import Any

from psycopg import sql
from psycopg.types.json import Jsonb

from tests.chaos import isolation
from tests.chaos.isolation import Permutation, Step
from tests.chaos.place import Place
from tests.chaos.scenario import Control, Scenario, require, spread
from tests.chaos.stage import Stage, fresh
from tests.py.mirror.world import Row, _status

_HELPERS = (
    Path(__file__).parents[2] / "sql" / "helpers" / "test_builders.sql",
    Path(__file__).parents[1] / "isolation.sql",
)


def _decide(action: str) -> str:
    call = f"booking.confirm_booking_transaction(h.expert, h.booking, '{action}')"
    return f"select status, payment_status from tester.here h, {call}"


def _cancel(who: str) -> str:
    return (
        "select status, cancelled_by, refund_percent, refund_amount, payment_status"
        f" from tester.here h, booking.cancel_booking_transaction(h.{who}, h.booking)"
    )


def _event(name: str) -> Step:
    return Step(name, f"select tester.tell('{name}')")


STEPS = {
    each.name: each
    for each in (
        Step("confirm", _decide("confirm")),
        Step("decline", _decide("decline")),
        Step("cancel", _cancel("student")),
        Step("expert_cancels", _cancel("expert")),
        Step("cleanup", "select booking.cleanup_expired_bookings()", "booking_cron", skips=True),
        Step(
            "prepare",
            "select amount, stripe_payment_intent_id = h.intent as same"
            " from tester.here h, booking.prepare_payment_intent(h.student, h.booking)",
        ),
        Step(
            "record_second",
            "select booking_status, payment_status, is_live"
            " from tester.here h, booking.record_payment_intent(h.payment, h.intent || '_second')",
        ),
        Step(
            "ask",
            "select booking.request_refund(h.student, h.booking, 1000) is not null as asked"
            " from tester.here h",
        ),
        Step(
            "approve",
            "select status, refund_amount, payment_status"
            " from tester.here h, booking.decide_refund_request('admin', h.request, 'approve')",
        ),
        # what came of the command that worker w holds
        Step(
            "complete",
            "select booking.complete_stripe_command(h.command, 'w', tester.answer()) from tester.here h",
        ),
        Step(
            "refused",
            "select booking.fail_stripe_command(h.command, 'w', tester.expired(), false) from tester.here h",
        ),
        Step(
            "unknown",
            "select booking.fail_stripe_command(h.command, 'w', tester.silence(), true) from tester.here h",
        ),
        # a class: the same student comes again, or somebody else wants the seat
        Step(
            "hold_again",
            "select amount, stripe_payment_intent_id = h.intent as same"
            " from tester.here h, booking.prepare_class_payment(h.student, h.slot)",
        ),
        Step(
            "other_books",
            "select status from tester.here h, booking.create_booking_transaction('other', h.slot)",
        ),
        _event("authorized"),
        _event("captured"),
        _event("charge_captured"),
        _event("failed"),
        _event("canceled"),
        _event("expired"),
        _event("released"),
        _event("refunded"),
        _event("refund_made"),
        _event("refund_failed"),
        _event("disputed"),
        _event("dispute_lost"),
        _event("dispute_won"),
    )
}

STARTS = {
    "unpaid": "confirm decline cancel cleanup prepare record_second authorized captured canceled",
    "authorized": "confirm decline cancel cleanup captured canceled expired released",
    "confirmed": "decline cancel expert_cancels complete refused unknown captured canceled",
    "captured": "cancel expert_cancels ask approve refunded disputed dispute_won",
    "refunding": "complete unknown refund_made refunded refund_failed disputed dispute_lost",
    "instant": "cancel expert_cancels cleanup prepare captured canceled",
    "lapsed": "captured charge_captured hold_again other_books canceled",
}
"""How far the booking has come, and what may happen to it there."""

REFUSALS = {
    "already_processed",
    "payment_not_authorized",
    "authorization_expired",
    "refund_exceeds_captured",
    "payment_disputed",
    "payment_not_captured",
    "slot_unavailable",
    "capacity_full",
    "duplicate_booking",
}
"""What whoever comes too late may be told."""

BOOKING_EDGES = {
    "pending>confirmed",
    "pending>declined",
    "pending>cancelled",
    "confirmed>cancelled",
    "confirmed>completed",
}
_OPEN = ("pending", "requires_action", "processing", "failed")
_PAID = ("captured", "partially_refunded", "refunded")
PAYMENT_EDGES = {
    *(f"{one}>{two}" for one in _OPEN for two in (*_OPEN, "authorized", "captured", "cancelled")),
    *(f"authorized>{two}" for two in ("captured", "cancelled", "failed")),
    *(f"{one}>{two}" for one in _PAID for two in _PAID),
}

HELD: Any = {
    "amount": 5000,
    "currency": "usd",
    "capture_method": "manual",
    "confirm": True,
    "payment_method": "pm_card_visa",
    "return_url": "https://shop.example",
}
"""A PaymentIntent whose card is authorized."""

NAMES = {
    ("payment_intent.amount_capturable_updated", None): "authorized",
    ("payment_intent.succeeded", None): "captured",
    ("payment_intent.canceled", None): "canceled",
    ("charge.captured", True): "charge_captured",
    ("charge.expired", False): "expired",
    ("charge.refunded", False): "released",
}
"""What the steps call Stripe's events, by type and by whether the charge is captured."""

SKIPPED = ["cleanup_expired_bookings", "0", "(1 row)"]

HISTORIES = {
    "held": {"authorized"},
    "captured": {"authorized", "captured", "charge_captured"},
    "lapsed": {"authorized", "canceled", "expired"},
    "canceled": {"authorized", "canceled", "released"},
}
"""What may have happened at Stripe, and the events that it gives rise to."""


@dataclass(frozen=True)
class Case:
    """A start, and what happens to it at once."""

    start: str
    names: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.start}: {' + '.join(self.names)}"

    @property
    def steps(self) -> list[Step]:
        return [STEPS[name] for name in self.names]

    @property
    def history(self) -> str | None:
        """What happened at Stripe, where these steps can all be true of one PaymentIntent."""
        told = {name for name in self.names if name in set().union(*HISTORIES.values())}
        told |= {"captured"} & {{"complete": "captured"}.get(name, "") for name in self.names}
        told |= {"canceled"} & {{"refused": "canceled"}.get(name, "") for name in self.names}
        if self.start not in ("unpaid", "authorized", "confirmed") or "record_second" in self.names:
            return None
        return next((name for name, events in HISTORIES.items() if told <= events), None)


def cases(count: int) -> list[Case]:
    """Every set of so many; of two also the same twice."""
    found = []
    for start, words in STARTS.items():
        names = words.split()
        sets: Iterator[tuple[str, ...]] = combinations(names, count)
        if count == 2:
            sets = chain(sets, ((name, name) for name in names))
        found += [Case(start, each) for each in sets]
    return found


CASES = cases(2) + cases(3)


class Table(Stage):
    """A stage with the tester's helpers."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.version = self.sql.info.server_version // 10_000
        # A deadlock shows at once instead of after a second.
        self.sql.execute(
            sql.SQL(
                "alter database {0} set deadlock_timeout = '50ms'; alter database {0} set timezone = 'UTC'"
            ).format(sql.Identifier(self.sql.info.dbname))
        )
        for helpers in _HELPERS:
            with self.sql.transaction():
                self.sql.execute(helpers.read_bytes())

    def run(self, case: Case, chosen: Sequence[Sequence[str]]) -> list[tuple[Permutation, Row]]:
        """Let the tester take the steps so; what was answered, and what became of the booking."""
        self.sql.execute("delete from tester.results")
        came = isolation.run(self.url, self.version, isolation.spec(case.start, case.steps, chosen))
        rows = self.sql.execute("select * from tester.results order by number").fetchall()
        require(len(came) == len(rows) == len(chosen), f"{len(came)} of {len(chosen)} permutations ran")
        return list(zip(came, rows, strict=True))

    def make_intents(self, history: str, count: int) -> None:
        """As many PaymentIntents at Stripe, and what it tells of them."""
        intents = self.customer.v1.payment_intents
        made = [intents.create(HELD).id for _ in range(count)]
        for intent in made:
            match history:
                case "captured":
                    intents.capture(intent)
                case "lapsed":
                    self.control.lapse(intent)
                case "canceled":
                    intents.cancel(intent)
        told = [
            (subject.get("payment_intent") or subject["id"], name, Jsonb(event))
            for event in self.control.events()[self.delivered :]
            for subject in (event["data"]["object"],)
            if (name := NAMES.get((event["type"], subject.get("captured"))))
        ]
        with self.sql.cursor() as cursor:
            cursor.executemany("insert into tester.intents (id) values (%s)", [(each,) for each in made])
            cursor.executemany("insert into tester.events values (%s, %s, %s)", told)

    def require_books(self) -> None:
        """What was decided is done at Stripe, and every payment is what its books say."""
        self.sql.execute(
            "update booking.stripe_commands set lease_until = now() - interval '1 s' where locked_by = 'w'"
        )
        self.drain()
        theirs = {
            row["id"]: (row["captured"], row["refunded"], _status(row))
            for row in self.control.books()["payment_intents"]
        }
        ours = {
            row["id"]: (row["amount_captured"], row["amount_refunded"], row["status"])
            for row in self.sql.execute(
                "select p.stripe_payment_intent_id as id, p.amount_captured, p.amount_refunded,"
                " p.status::text"
                " from booking.payments p where p.stripe_payment_intent_id = any (%s)",
                (list(theirs),),
            )
        }
        odd = {key: (ours.get(key), value) for key, value in theirs.items() if ours.get(key) != value}
        require(not odd, f"ours and Stripe's books differ: {odd}")
        left = self.sql.execute(
            "select * from booking.stripe_commands where status <> 'done' and stripe_id = any (%s)",
            (list(theirs),),
        ).fetchall()
        require(not left, f"commands are left: {left}")
        self.require_invariants()

    def require_invariants(self) -> None:
        broken = self.sql.execute("select * from booking.check_invariants()").fetchall()
        require(not broken, f"invariants are violated: {broken}")

    def forget(self) -> None:
        """Nobody works on what no Stripe has; nobody is alarmed any more."""
        self.sql.execute(
            "update booking.stripe_commands"
            " set status = 'running', locked_by = 'nobody', lease_until = 'infinity'"
            " where status in ('pending', 'running')"
        )
        self.resolve_alerts()
        self.sql.execute("delete from tester.intents; delete from tester.events; delete from tester.results")


class Interleavings(Scenario[Table]):
    title = (
        "Two and three at once do everything to one booking, in every order (PostgreSQL's isolation tester)"
    )
    tries = len(CASES)
    short = 4
    per_stage = 40
    controls = (
        Control(
            "the seat is locked before the booking",
            edits=(
                (
                    "bookings/confirm_booking_transaction.sql",
                    "perform booking.lock_booking(p_booking_id, true);",
                    "null;",
                ),
            ),
            tries=100,
            first=50,
        ),
        Control(
            "whoever decides has looked at the status",
            edits=(
                (
                    "bookings/confirm_booking_transaction.sql",
                    "v_status is distinct from 'pending'",
                    "v_status not in ('pending', 'confirmed')",
                ),
            ),
            tries=100,
        ),
        Control(
            "a booking is locked before its status is looked at",
            edits=(
                (
                    "bookings/confirm_booking_transaction.sql",
                    "where b.id = p_booking_id for no key update;",
                    "where b.id = p_booking_id;",
                ),
            ),
            tries=100,
            first=4,
        ),
    )

    def __init__(self) -> None:
        self._ran = self._waited = self._drained = 0

    def stage(self, place: Place, removed: Control | None) -> AbstractContextManager[Table]:
        return fresh(Table, place, removed)

    def attempt(self, stage: Table, number: int, rng: random.Random) -> str:
        case = spread(CASES, number)
        stage.kind = str(case)
        steps, names = case.steps, isolation.session_names(case.steps)
        alone = isolation.serial(names)
        # what a cleanup finds locked it leaves to the next one: as if it had not come
        others = [name for name, step in zip(names, steps, strict=True) if not step.skips]
        without = isolation.serial(others) if 0 < len(others) < len(names) else []
        together = isolation.overlapping(names)
        chosen = [*alone, *without, *together]
        if case.history:
            stage.make_intents(case.history, len(chosen))
        came = stage.run(case, chosen)
        legal = [outcome(*each) for each in came[: len(alone)]]
        legal += [
            ({**answers, **{name: SKIPPED for name in names if name not in answers}}, found)
            for answers, found in (outcome(*each) for each in came[len(alone) :][: len(without)])
        ]
        for permutation, row in came:
            judge(permutation, row)
        for permutation, row in came[len(alone) + len(without) :]:
            require(
                outcome(permutation, row) in legal,
                f"{' '.join(permutation.steps)}: no order of them comes to {outcome(permutation, row)};"
                f" they come to {legal}",
            )
        stage.require_invariants()
        if case.history:
            stage.require_books()
            self._drained += len(chosen)
        stage.forget()
        self._ran += len(chosen)
        self._waited += sum(permutation.has_waited for permutation, _ in came)
        return case.start

    def facts(self) -> dict[str, Any]:
        return {
            "permutations": self._ran,
            "of them in which one was seen waiting for another": self._waited,
            "of them worked off at Stripe afterwards": self._drained,
        }


def outcome(permutation: Permutation, row: Row) -> tuple[dict[str, list[str]], Row]:
    """What everybody was told, and what became of the booking."""
    told = {step: lines for step, lines in permutation.answers.items() if not step.endswith("_ends")}
    return told, row["found"]


def judge(permutation: Permutation, row: Row) -> None:
    """No error but a refusal that is documented, and no edge that is not."""
    order = " ".join(permutation.steps)
    odd = [(step, message) for step, message in permutation.errors() if message not in REFUSALS]
    require(not odd, f"{order}: {odd}")
    require(set(row["trail"]) <= BOOKING_EDGES, f"{order}: the booking went {row['trail']}")
    require(set(row["edges"]) <= PAYMENT_EDGES, f"{order}: the payment went {row['edges']}")
    for one, two in pairwise([*row["trail"]]):
        require(one.split(">")[1] == two.split(">")[0], f"{order}: the booking went {row['trail']}")


SCENARIO = Interleavings
