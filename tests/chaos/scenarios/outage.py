"""Stripe away for a real minute while people go on deciding: all are answered, and all is done afterwards."""

from __future__ import annotations

import random
import time
from contextlib import AbstractContextManager
from typing import Any

from tests.chaos.cases import CANCEL, CAPTURE, REFUND
from tests.chaos.place import Place
from tests.chaos.scenario import Control, Scenario, require
from tests.chaos.stage import Stage, fresh

PATIENCE = 300
"""Seconds that the outbox may take after the outage: its pauses grow to as long as the outage was."""


class Outage(Scenario[Stage]):
    title = "Stripe away for a minute of real time, answering 503, 500 or nothing"
    tries = 3
    short = 1
    controls = (
        Control(
            "an unknown outcome is tried again",
            edits=(
                (
                    "payments/fail_stripe_command.sql",
                    "elsif v_is_auth or p_retryable and",
                    "elsif v_is_auth and",
                ),
            ),
            tries=1,
        ),
    )

    def __init__(self) -> None:
        self._answers: list[float] = []
        self._rest: list[float] = []

    def stage(self, place: Place, removed: Control | None) -> AbstractContextManager[Stage]:
        return fresh(Stage, place, removed)

    def attempt(self, stage: Stage, number: int, rng: random.Random) -> str:
        fault = ("503", "drop", "500_before_unsaved")[number % 3]
        seconds, decisions = (1.0, 3) if self.quick else (60.0, 12)
        stage.kind = f"{fault} for {seconds:.0f} s"
        cases = [rng.choice((CAPTURE, CANCEL, REFUND)) for _ in range(decisions)]
        wishes = [(case, case.before(stage)) for case in cases]
        worker = stage.worker()
        try:
            stage.control.fault(fault, times=1_000_000, path="/v1")
            began = time.monotonic()
            for done, (case, booking) in enumerate(wishes, 1):
                asked = time.monotonic()
                answer = case.ask(stage, booking)
                self._answers.append(time.monotonic() - asked)
                require(answer.status_code == 200, f"a decision was refused: {answer.text}")
                require(answer.json()["mirror"] == "pending", f"what was done at Stripe? {answer.text}")
                time.sleep(max(0.0, began + seconds * done / decisions - time.monotonic()))
            stage.control.clear_faults()
            over = time.monotonic()
            while stage.sql.execute(OPEN).fetchall():
                require(time.monotonic() < over + PATIENCE, "the outbox does not come to rest")
                time.sleep(0.05)
            self._rest.append(time.monotonic() - over)
        finally:
            stage.control.clear_faults()
            worker.end()
        stage.deliver()
        for case, booking in wishes:
            case.require_effect(stage, booking)
        stage.require_sound()
        return stage.kind

    def facts(self) -> dict[str, Any]:
        return {
            "seconds to an answer while Stripe is away, longest": round(max(self._answers, default=0.0), 1),
            "seconds until all is done after the outage": [round(each, 1) for each in self._rest],
        }


OPEN = "select id from booking.stripe_commands where status in ('pending', 'running')"

SCENARIO = Outage
