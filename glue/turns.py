"""Whose turn it is: a process works on a few requests at once; who waits for Stripe lets another one begin.

More requests at work than there are connections to the database only get in each other's way: with 40 instead
of 8 of them a process answered a fifth fewer (docs/performance.md).
"""

from __future__ import annotations

import threading
from queue import SimpleQueue

_mine = threading.local()


class Turns:
    """So many, for more threads than that."""

    def __init__(self, count: int) -> None:
        self._free: SimpleQueue[None] = SimpleQueue()
        for _ in range(count):
            self._free.put(None)

    def keep(self) -> None:
        """Returns as soon as this thread has a turn; one that it still has it keeps."""
        if getattr(_mine, "turns", None) is None:
            self._free.get()
            _mine.turns = self

    def leave(self) -> None:
        """Another thread's turn."""
        _mine.turns = None
        self._free.put(None)


def step_aside() -> None:
    """Before this thread waits for something that is not the database: another one has its turn meanwhile.

    It may go on afterwards, and waits for a turn again when it has answered. Without effect in a thread that
    has no turn.
    """
    turns: Turns | None = getattr(_mine, "turns", None)
    if turns is not None:
        turns.leave()
