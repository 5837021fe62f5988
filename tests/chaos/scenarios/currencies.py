"""Every currency there is a rule for, from price to credit note."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.chaos.place import Place
from tests.chaos.scenario import Control, Scenario, spread
from tests.chaos.scenarios.times import MONEY, Era, require_invariants, sell_in
from tests.chaos.stage import fresh

TURNS = 4
"""Amounts that are drawn for each currency."""


class Currencies(Scenario[Era]):
    title = "A booking in each currency with a rule of its own, half of it given back"
    tries = TURNS * len(MONEY)
    short = len(MONEY)
    controls = (
        Control(
            "money is given back in Stripe's units",
            edits=(("core/currency_step.sql", "when lower(p_currency) in ('isk', 'ugx') then 100", ""),),
            tries=len(MONEY),
            first=18,  # one of the two
        ),
    )

    def __init__(self) -> None:
        self._sold: set[str] = set()

    @contextmanager
    def stage(self, place: Place, removed: Control | None) -> Iterator[Era]:
        with fresh(Era, place, removed) as era:
            era.open()
            yield era

    def attempt(self, stage: Era, number: int, rng: random.Random) -> str:
        currency = stage.kind = spread(MONEY, number)
        sell_in(stage, currency, rng)
        require_invariants(stage)
        stage.require_sound()
        self._sold.add(currency)
        return currency

    def facts(self) -> dict[str, Any]:
        return {"currencies": len(self._sold)}


SCENARIO = Currencies
