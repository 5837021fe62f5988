"""What SIGTERM and SIGINT do to a process that runs until it is told to stop."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import SimpleQueue


@contextmanager
def stopped_by_signals(stop: Callable[[], object]) -> Iterator[None]:
    """SIGTERM and SIGINT call `stop` in this block, on a thread of its own. In the main thread only.

    A handler runs in the main thread between any two of its steps. One that takes a lock, to set an Event for
    instance, waits for ever when the main thread holds it just then; `SimpleQueue.put` is made for handlers.
    """
    told: SimpleQueue[bool] = SimpleQueue()

    def listen() -> None:
        while told.get():
            stop()

    previous = [
        (number, signal.signal(number, lambda *_: told.put(True)) or signal.SIG_DFL)
        for number in (signal.SIGTERM, signal.SIGINT)
    ]
    threading.Thread(target=listen, name="signals", daemon=True).start()
    try:
        yield
    finally:
        for number, handler in previous:
            signal.signal(number, handler)
        told.put(False)
