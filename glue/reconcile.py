"""Compares our books with Stripe's: pages through what Stripe has, asks again for what is doubtful.

What belongs together and what differs is the database's judgement; here is only the order of the questions.
Amounts are minor units, durations are seconds.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

from glue.db import Database
from glue.mirror import Mirror
from glue.stripe_gateway import Kind, StripeGateway

_log = logging.getLogger(__name__)

KINDS: tuple[Kind, ...] = ("payment_intent", "charge", "refund")

MANY = 100
"""More doubtful ones than that are no matter of events that are a moment late."""

_BATCH = 20
_MOST_ROUNDS = 30

Progress = Callable[[str, float], None]
"""progress(phase, share): how much of a phase is done, from 0 to 1. Phases: the kinds, then `doubtful`."""


def _unseen(phase: str, share: float) -> None:  # noqa: ARG001
    return None


class WindowTooLarge(Exception):
    """The time allowed was used up; the run stays unfinished."""


@dataclass(frozen=True)
class Report:
    """What a run found. `differences`: rows of payment_id, stripe_id, kind, ours, theirs.

    `pending`: what differs and is only on its way. `settled`, `unsettled`: commands of unknown outcome that
    Stripe knew the effect of, or did not.
    """

    run_id: UUID
    window_from: datetime
    window_to: datetime
    payment_intents: int
    charges: int
    refunds: int
    settled: int
    unsettled: int
    pending: int
    differences: list[dict[str, Any]]


class Reconciler:
    """Runs reconciliations, one after the other.

    `patience`: seconds that events on their way have to arrive, before what they explain is a difference.
    `budget`: seconds that a run may take in all.
    """

    def __init__(
        self,
        db: Database,
        gateway: StripeGateway,
        mirror: Mirror,
        *,
        patience: float = 10.0,
        budget: float = float("inf"),
        progress: Progress = _unseen,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._db = db
        self._gateway = gateway
        self._mirror = mirror
        self._patience = patience
        self._budget = budget
        self._progress = progress
        self._clock = clock
        self._sleep = sleep
        self._until = float("inf")

    def run(
        self, start: datetime, end: datetime, *, actor: str | None = None, request_id: str | None = None
    ) -> Report:
        """Compare what was created from `start` up to `end`.

        Raises psycopg.Error (PT400 for a window that is none), StripeFailure, WindowTooLarge.
        """
        self._until = self._clock() + self._budget
        run_id: UUID = self._db.scalar(
            "select * from booking.begin_reconciliation(p_from => %(from)s, p_to => %(to)s,"
            " p_actor => booking.on_request(%(request)s, %(actor)s))",
            {"from": start, "to": end, "actor": actor, "request": request_id},
        )
        settled, unsettled = self._mirror.settle_unknown()
        for kind in KINDS:
            self._read(run_id, kind, start, end)
        self._ask_again(run_id)
        differences = self._db.all(
            "select * from booking.finish_reconciliation("
            "p_run_id => (select %(run)s::uuid from booking.on_request(%(request)s, %(actor)s)))",
            {"run": run_id, "actor": actor, "request": request_id},
        )
        row = self._db.one("select * from booking.get_reconciliation(p_run_id => %(run)s)", {"run": run_id})
        assert row is not None
        counts = {name: row[name] for name in ("payment_intents", "charges", "refunds", "pending")}
        _log.log(
            logging.WARNING if differences else logging.INFO,
            "a reconciliation has finished",
            extra={"run_id": str(run_id), "differences": len(differences), **counts},
        )
        return Report(
            run_id=run_id,
            window_from=start,
            window_to=end,
            settled=settled,
            unsettled=unsettled,
            differences=differences,
            **counts,
        )

    def _read(self, run_id: UUID, kind: Kind, start: datetime, end: datetime) -> None:
        """Record every page of a kind. They come newest first, so the oldest object tells how far it is."""
        self._progress(kind, 0.0)
        for page in self._gateway.pages(kind, start, end):
            self._record(run_id, page)
            if page:
                left = (page[-1]["created"] - start.timestamp()) / (end - start).total_seconds()
                self._progress(kind, min(1.0, max(0.0, 1.0 - left)))
        self._progress(kind, 1.0)

    def _ask_again(self, run_id: UUID) -> None:
        """Ask for the doubtful ones until none is left, or until those that remain had time enough."""
        asked: set[str] = set()
        give_up = float("inf")
        for _ in range(_MOST_ROUNDS):
            doubtful = self._doubtful(run_id)
            if asked and asked.issuperset(doubtful):
                if not doubtful or self._clock() >= give_up or len(doubtful) > MANY:
                    break
                self._sleep(min(1.0, max(0.0, give_up - self._clock())))
                doubtful = self._doubtful(run_id)
            if not doubtful:
                break
            self._ask(run_id, doubtful)
            if not asked:
                give_up = self._clock() + self._patience
            asked.update(doubtful)
        self._progress("doubtful", 1.0)

    def _doubtful(self, run_id: UUID) -> list[str]:
        rows = self._db.all(
            "select * from booking.list_doubtful_payments(p_run_id => %(run)s)", {"run": run_id}
        )
        return [row["stripe_id"] for row in rows]

    def _ask(self, run_id: UUID, doubtful: list[str]) -> None:
        number = 0
        left = iter(doubtful)
        while batch := list(islice(left, _BATCH)):
            found: list[dict[str, Any]] = []
            for stripe_id in batch:
                self._within_budget()
                found += self._gateway.retrieve_whole(stripe_id)
                number += 1
                self._progress("doubtful", number / len(doubtful))
            self._record(run_id, found)

    def _record(self, run_id: UUID, objects: Iterable[dict[str, Any]]) -> None:
        self._within_budget()
        self._db.scalar(
            "select * from booking.record_stripe_objects(p_run_id => %(run)s, p_objects => %(objects)s)",
            {"run": run_id, "objects": Jsonb(list(objects))},
        )

    def _within_budget(self) -> None:
        if self._clock() >= self._until:
            raise WindowTooLarge("the time allowed for a reconciliation is used up")
