"""Every order of a story, also with events told again and again, without telling each from its beginning.

Two beginnings that told the same steps and left the same rows behind go on in the same way. So each step is
told once from each state that is reached, and taken back, instead of once in each order: the millions of
orders of a long story pass through some thousand states. What a state is says `play.state()`. In each state
all events told so far are told again; nothing changes, so they may come again at any place of any order, as
often as they like.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING

import psycopg
from psycopg.types.json import Jsonb

from tests.chaos.scenario import Violation, require
from tests.chaos.stories import Tale
from tests.py.mirror.world import Row

if TYPE_CHECKING:
    from tests.chaos.scenarios.webhooks import Gate

State = tuple[frozenset[int], str]
"""Which steps were told, and what play.state() says."""

IN_STATE = {
    *("alerts", "booking_events", "bookings", "disputes", "orders", "payments", "refund_requests", "refunds"),
    *("slot_seats", "stripe_commands", "transfers", "webhook_events"),
}
"""The tables that make a state."""
ONLY_WRITTEN = {"audit_log", "stat_deltas"}
"""Those that steps write and no step reads."""


def orders_of(tale: Tale) -> int:
    """How many there are."""

    @cache
    def ways(told: frozenset[int]) -> int:
        return sum(ways(told | {number}) for number in tale.possible(told)) or 1

    return ways(frozenset())


@dataclass
class Explorer:
    """At a stage at which nothing else happened, and in one transaction that is taken back."""

    stage: Gate
    tale: Tale
    told: int = 0
    """Steps told, without those that were told again."""
    states: set[State] = field(default_factory=set)

    def explore(self) -> None:
        """Raises Violation with an order that leads there."""
        self._first = self.stage.play(self.tale, list(range(len(self.tale.steps))))
        with self.stage.sql.transaction(force_rollback=True):
            now = self.stage.value("select play.begin(%s, 5000)", self.stage.slots[self.tale.name])
            before = self._written()
            self._visit(now, self.stage.value("select play.state(%s)", Jsonb(now)), ())
            after = self._written()
        unknown = {name for name in after if after[name] != before.get(name)} - IN_STATE - ONLY_WRITTEN
        require(not unknown, f"steps write into {unknown}, which play.state() does not look at")

    def _written(self) -> dict[str, int]:
        """How many rows of each table this transaction wrote, also those that were taken back."""
        return {row["name"]: row["rows"] for row in self.stage.sql.execute(WRITTEN)}

    def _visit(self, now: Row, state: str, path: tuple[int, ...]) -> None:
        """A state that was not met before; `path` is one of those that lead to it."""
        steps, told = self.tale.steps, frozenset(path)
        self.states.add((told, state))
        with self._named(path, "events again"):
            events = [steps[number].told for number in path if steps[number].is_event]
            again = self.stage.value("select play.again(%s, %s)", Jsonb(now), Jsonb(events))
            require(again == state, "something changed")
        with self._named(path):
            self.stage.require_invariants()
            if len(path) == len(steps):
                found = self.stage.value("select play.outcome(%s)", Jsonb(now))
                odd = {key: (self._first[key], found[key]) for key in found if self._first[key] != found[key]}
                require(not odd, f"not as in Stripe's order: {odd}")
        for number in self.tale.possible(told):
            self.stage.sql.execute("savepoint before")
            with self._named((*path, number)):
                told_one = self.stage.sql.execute(
                    "select * from play.step(%s, %s)", (Jsonb(now), Jsonb(steps[number].told))
                )
            after = told_one.fetchone()
            assert after is not None
            self.told += 1
            if (told | {number}, after["state"]) not in self.states:
                self._visit(after["now"], after["state"], (*path, number))
            self.stage.sql.execute("rollback to savepoint before")
            self.stage.sql.execute("release savepoint before")

    @contextmanager
    def _named(self, path: Sequence[int], more: str = "") -> Iterator[None]:
        """An error inside is a violation, which is told with the steps that led to it."""
        try:
            yield
        except (psycopg.Error, Violation) as error:
            names = " > ".join([*(self.tale.steps[number].what for number in path), *filter(None, [more])])
            raise Violation(f"{self.tale.name}: {names}: {error}") from None


WRITTEN = (
    "select relname as name, n_tup_ins + n_tup_upd + n_tup_del as rows"
    " from pg_stat_xact_user_tables where schemaname = 'booking'"
)
