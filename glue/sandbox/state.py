"""What the sandbox remembers: objects, the clock, timers, and the events that changes give rise to.

Everything here is called with `State.lock` held, which makes each API call atomic.
"""

from __future__ import annotations

import heapq
import json
import random
import string
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from glue.sandbox.errors import Obj, resource_missing
from glue.sandbox.shapes import blank

API_VERSION = "2026-10-28.endive"

PREFIXES = {
    "payment_intent": "pi_3",
    "charge": "ch_3",
    "refund": "re_3",
    "dispute": "du_1",
    "checkout.session": "cs_test_a1",
    "event": "evt_1",
    "balance_transaction": "txn_3",
    "payment_method": "pm_1",
    "customer": "cus_",
}
_LETTERS = string.ascii_letters + string.digits


def random_text(length: int) -> str:
    return "".join(random.choices(_LETTERS, k=length))  # noqa: S311 - ids of a test double


class Clock:
    """Sandbox time: the wall clock plus however far it was moved ahead."""

    def __init__(self) -> None:
        self.offset = 0.0

    def now(self) -> float:
        """Unix time, seconds."""
        return time.time() + self.offset


class Store:
    """Objects of one kind, in the order of their creation."""

    def __init__(self) -> None:
        self._rows: list[Obj] = []
        self._positions: dict[str, int] = {}

    def add(self, row: Obj) -> None:
        self._positions[row["id"]] = len(self._rows)
        self._rows.append(row)

    def get(self, object_id: str) -> Obj | None:
        position = self._positions.get(object_id)
        return None if position is None else self._rows[position]

    def position(self, object_id: str) -> int | None:
        return self._positions.get(object_id)

    def __iter__(self) -> Iterator[Obj]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def downwards(self, position: int) -> Iterator[Obj]:
        """Rows from `position` to the oldest."""
        for at in range(position, -1, -1):
            yield self._rows[at]

    def upwards(self, position: int) -> Iterator[Obj]:
        """Rows from `position` to the newest."""
        for at in range(position, len(self._rows)):
            yield self._rows[at]


@dataclass
class State:
    """All objects of one account."""

    deliver: Callable[[Obj], None]
    lock: threading.RLock = field(default_factory=threading.RLock)
    clock: Clock = field(default_factory=Clock)
    request_id: str | None = None
    idempotency_key: str | None = None
    handlers: dict[str, Callable[[State, str], None]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget every object and timer; the clock goes back to the wall clock."""
        self.stores = {kind: Store() for kind in PREFIXES}
        self.hidden: dict[str, Obj] = {}
        self.links: dict[str, list[str]] = {}
        self.timers: list[tuple[float, int, str, str]] = []
        self.timer_count = 0
        self.clock.offset = 0.0

    def now(self) -> int:
        return int(self.clock.now())

    def new(self, kind: str, **values: Any) -> Obj:
        """A stored object with a new id; `values` replace the defaults of its shape."""
        row = blank(kind)
        length = 56 if kind == "checkout.session" else 14 if kind == "customer" else 23
        row["id"] = PREFIXES[kind] + random_text(length)
        row["created"] = self.now()
        row.update(values)
        self.stores[kind].add(row)
        return row

    def get(self, kind: str, object_id: str, *, param: str, status: int = 404) -> Obj:
        """The object, or Stripe's `resource_missing`."""
        row = self.stores[kind].get(object_id)
        if row is None:
            raise resource_missing(kind, object_id, param=param, status=status)
        return row

    def find(self, object_id: str) -> Obj | None:
        """The object with that id, whatever its kind."""
        for store in self.stores.values():
            row = store.get(object_id)
            if row is not None:
                return row
        return None

    def secret(self, object_id: str) -> Obj:
        """What the sandbox knows about an object but never shows."""
        return self.hidden.setdefault(object_id, {})

    def link(self, parent: str, kind: str, child: str) -> None:
        """Remember that `child` hangs on `parent`."""
        self.links.setdefault(f"{kind}:{parent}", []).append(child)

    def linked(self, parent: str, kind: str) -> list[Obj]:
        """Objects of `kind` that hang on `parent`, oldest first."""
        store = self.stores[kind]
        rows = (store.get(child) for child in self.links.get(f"{kind}:{parent}", ()))
        return [row for row in rows if row is not None]

    def emit(self, event_type: str, row: Obj, **previous: Any) -> Obj:
        """Record an event with a snapshot of `row` as it is now, and hand it to the delivery."""
        data: Obj = {"object": json.loads(json.dumps(row))}
        if previous:
            data["previous_attributes"] = previous
        event = self.new(
            "event",
            type=event_type,
            api_version=API_VERSION,
            data=data,
            request={"id": self.request_id, "idempotency_key": self.idempotency_key},
        )
        self.deliver(event)
        return event

    def at(self, due: float, handler: str, object_id: str) -> None:
        """Call `handlers[handler](state, object_id)` when the sandbox clock reaches `due`."""
        self.timer_count += 1
        heapq.heappush(self.timers, (due, self.timer_count, handler, object_id))

    def tick(self) -> None:
        """Run the timers that are due. They act on Stripe's own account, so their events name no request."""
        if not self.timers or self.timers[0][0] > self.clock.now():
            return
        request = self.request_id, self.idempotency_key
        self.request_id = self.idempotency_key = None
        while self.timers and self.timers[0][0] <= self.clock.now():
            _, _, handler, object_id = heapq.heappop(self.timers)
            self.handlers[handler](self, object_id)
        self.request_id, self.idempotency_key = request
