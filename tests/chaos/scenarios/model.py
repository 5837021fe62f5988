"""Hypothesis draws what happens, step after step, and a small model beside it says what must come of it."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.database import DirectoryBasedExampleDatabase
from hypothesis.stateful import run_state_machine_as_test

from tests.chaos import sabotage
from tests.chaos.machine.books import Books
from tests.chaos.machine.machine import Machine, Stage
from tests.chaos.machine.stripe import Account, RunClock
from tests.chaos.place import Place
from tests.chaos.scenario import Control, Scenario, Violation
from tests.py.races.helpers import mutate

RUNS = 10
"""A try is so many runs, of up to so many steps."""
STEPS = 50
FAILED = Path(__file__).parents[1] / "results" / "model.failed"
"""Seeds of tries that once failed, a line each: they are tried first."""
EXAMPLES = Path(__file__).parents[3] / ".hypothesis" / "model"


class Model(Scenario[Stage]):
    title = f"A state machine drawn by Hypothesis beside a model of it (tries of {RUNS} runs)"
    tries = 150
    short = 1
    per_stage = 50
    controls = (
        Control(
            "only a pending booking is decided",
            edits=(
                (
                    "bookings/confirm_booking_transaction.sql",
                    "v_status is distinct from 'pending'",
                    "false",
                ),
            ),
            tries=2,
        ),
        Control(
            "what is on its way counts as given back",
            edits=(
                (
                    "refunds/refunds_promised.sql",
                    "and c.operation = 'create_refund' and (c.status <> 'done' or c.outcome = 'applied')",
                    "and c.operation = 'create_refund' and false",
                ),
            ),
            tries=20,
            first=6,
        ),
        Control(
            "a captured payment is never taken back by an older event",
            edits=(
                (
                    "payments/apply_payment_status.sql",
                    "elsif p_target = 'authorized' and not v_status = any (v_before_hold) then",
                    "elsif p_target = 'authorized' and v_status = 'authorized' then",
                ),
            ),
            tries=5,
        ),
        Control("the same idempotency key for the same wish", python=sabotage.fresh_keys, tries=20, first=7),
        Control(
            "an event that failed is applied when it comes again",
            edits=(
                (
                    "webhooks/process_webhook_event.sql",
                    "w.stripe_event_id = v_id and w.status = 'failed' for no key update",
                    "false",
                ),
            ),
            tries=5,
        ),
        Control(
            "only an order that nobody can pay is lost",
            edits=(("checkout/expire_lost_orders.sql", "d.stripe_session_id is null and", ""),),
            tries=10,
        ),
        Control(
            "money at Stripe that we know nothing of is a difference",
            edits=(
                (
                    "reconciliation/compare_with_stripe.sql",
                    "j.their_captured is not null and not j.is_over",
                    "false",
                ),
            ),
            tries=5,
        ),
    )

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.removed: Control | None = None

    @contextmanager
    def stage(self, place: Place, removed: Control | None) -> Iterator[Stage]:
        self.removed = removed
        with place.database() as url:
            clock = RunClock()
            stage = Stage(books := Books(url), account := Account(clock), clock)
            for file, old, new in removed.edits if removed else ():
                mutate(books.conn, file, old, new)
            try:
                yield stage
            finally:
                self.counts += stage.counts
                account.close()
                books.close()

    def attempt(self, stage: Stage, number: int, rng: random.Random) -> str:
        drawn = rng.getrandbits(32)
        if self.removed is None and number == 0:
            for line in FAILED.read_text().split() if FAILED.exists() else ():
                self.draw(stage, int(line))
        self.draw(stage, drawn, again=number == 0)
        return "runs"

    def draw(self, stage: Stage, drawn: int, *, again: bool = False) -> None:
        """So many runs. `again`: what failed before comes first. One that fails is made small, unless it must
        fail, and its seed is kept."""
        machine: Any = seed(drawn)(type("Run", (Machine,), {"stage": stage}))
        whole = self.removed is None
        phases = [Phase.generate]
        if whole:
            phases += [Phase.reuse] * again + [Phase.shrink] * (not self.quick)
        options = settings(
            max_examples=RUNS,
            stateful_step_count=STEPS,
            deadline=None,
            database=DirectoryBasedExampleDatabase(EXAMPLES) if whole else None,
            suppress_health_check=list(HealthCheck),
            phases=phases,
            print_blob=True,
        )
        try:
            run_state_machine_as_test(machine, settings=options)
        except Exception as error:
            if whole:
                with suppress(OSError), FAILED.open("a") as file:
                    file.write(f"{drawn}\n")
            steps = "\n".join(getattr(error, "__notes__", ()))
            raise Violation(f"{steps}\n{error}") from error

    def facts(self) -> dict[str, Any]:
        return dict(self.counts)


SCENARIO = Model
