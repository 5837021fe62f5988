"""Stripe's answers lost, late, wrong or refusing, as often as it pleases, on a simulated clock."""

from __future__ import annotations

import math
import random
import time
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any

from glue.stripe_gateway import StripeGateway
from tests.chaos import sabotage
from tests.chaos.cases import EXPIRE, OF_A_REQUEST, OF_THE_OUTBOX, Case
from tests.chaos.place import Place
from tests.chaos.scenario import Control, Scenario, Violation, spread
from tests.chaos.stage import Stage, fresh
from tests.py.mirror.world import Booking, World

FAULTS = (
    "apply_then_drop",
    "apply_then_timeout",
    "apply_then_500",
    "500_before_saved",
    "500_before_unsaved",
    "timeout",
    "429",
    "409",
    "401",
)
CASES = tuple(dict.fromkeys((*OF_A_REQUEST, *OF_THE_OUTBOX)))
KINDS = list(product(FAULTS, CASES))
STRIKES = (1, 1, 2, 3, 4, 7, 12)
PAUSES = (timedelta(seconds=2), timedelta(minutes=1), timedelta(hours=1), timedelta(hours=25))
PATIENCE = 0.04
"""Seconds, real ones: what a timeout takes here."""


class Clock:
    """Time that passes when somebody says so: at Stripe, in the gateway and for the outbox."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self.ahead = timedelta()

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead

    def monotonic(self) -> float:
        return time.monotonic() + self.ahead.total_seconds()

    def sleep(self, seconds: float) -> None:
        """The gateway waits before it repeats a call."""
        self.ahead += timedelta(seconds=seconds)

    def pass_by(self, pause: timedelta) -> None:
        self._stage.control.advance(seconds=pause.total_seconds())
        self._stage.due()
        self.ahead += pause


class Lab(Stage):
    """A stage with a clock; gateway and mirror go by it. No server: Stripe is what fails here."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.clock = Clock(self)

    def book(self, *, hours: float = 48) -> Booking:
        return World.book(self, hours=hours)

    def gateway_of(self, timeout: float) -> StripeGateway:
        clock = self.clock
        return self.new_gateway(timeout=timeout, clock=clock.monotonic, now=clock.now, sleep=clock.sleep)

    def heal(self) -> None:
        self.control.clear_faults()
        self.drain(self.new_mirror(self.gateway_of(8.0)))


class Answers(Scenario[Lab]):
    title = "Stripe's answer lost, late, 500 (before and after the effect, saved or not), 429, 409 or 401"
    # each fault a thousand times, with every case equally often
    tries = math.ceil(1000 / len(CASES)) * len(KINDS)
    short = 2 * len(FAULTS)
    per_stage = 20
    controls = (
        Control("the same idempotency key for the same wish", python=sabotage.fresh_keys, tries=200),
        Control(
            "Stripe is asked first when it has forgotten the key",
            python=sabotage.forgetful,
            tries=600,
            first=215,
        ),
        Control(
            "an unknown outcome is tried again",
            edits=(
                (
                    "payments/fail_stripe_command.sql",
                    "elsif v_is_auth or p_retryable and",
                    "elsif v_is_auth and",
                ),
            ),
            tries=200,
        ),
    )

    def __init__(self) -> None:
        self._unpayable = 0

    def stage(self, place: Place, removed: Control | None) -> AbstractContextManager[Lab]:
        return fresh(Lab, place, removed)

    def attempt(self, stage: Lab, number: int, rng: random.Random) -> str:
        fault, case = spread(KINDS, number)
        stage.kind = f"{fault}, {case.operation}"
        stage.clock = Clock(stage)
        patience = PATIENCE if "timeout" in fault else 8.0
        about = case.before(stage)
        more: dict[str, Any] = {"retry_after": rng.choice((1, 30))} if rng.random() < 0.5 else {}
        stage.control.fault(
            fault,
            times=rng.choice(STRIKES),
            method="POST",
            path_regex=case.path,
            seconds=20 * PATIENCE,
            **more,
        )
        gateway = stage.gateway_of(patience)
        if case.by_command:
            case.decide(stage, about)
            carry_out(stage, case, gateway, rng)
        else:
            ask_until_made(stage, case, about, gateway, rng)
        stage.heal()
        if fault == "apply_then_500":
            # The answer with its id is lost for good. Nobody was ever told where or how to pay it.
            lost = case.unknown(stage, about)
            stage.lost |= lost
            self._unpayable += len(lost)
        case.finish(stage, about)
        stage.heal()
        case.require_effect(stage, about)
        stage.require_sound(alerts=("stripe_credentials",) if fault == "401" else ())
        stage.resolve_alerts()
        return fault

    def facts(self) -> dict[str, Any]:
        return {"PaymentIntents and Checkout Sessions that nobody knows and nobody can pay": self._unpayable}


def ask_until_made(stage: Lab, case: Case, about: Any, gateway: StripeGateway, rng: random.Random) -> None:
    """Somebody's browser asks again until it has what it needs, within half an hour."""
    for _ in range(20):
        if case.create(stage, about, gateway):
            return
        stage.clock.pass_by(rng.choice(PAUSES[:2]))
    raise Violation(f"no {case.operation} came about")


def carry_out(stage: Lab, case: Case, gateway: StripeGateway, rng: random.Random) -> None:
    """The outbox tries again after pauses of seconds or a day, until the fault is over."""
    mirror = stage.new_mirror(gateway)
    # A hold lasts seven days, a Checkout Session one.
    most = timedelta(hours=20) if case is EXPIRE else timedelta(days=5)
    while claims := mirror.claim_due(limit=10, min_age=0):
        for claim in claims:
            mirror.run_claimed(claim)
        if not stage.control.faults():
            return
        pause = rng.choice(PAUSES)
        stage.clock.pass_by(pause if stage.clock.ahead + pause < most else PAUSES[0])
        if rng.random() < 0.3:
            stage.deliver()


SCENARIO = Answers
