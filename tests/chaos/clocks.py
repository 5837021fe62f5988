"""Servers and workers whose own clock is wrong. The clock of the database, and Stripe's, are right.

Only the time of day is wrong, in the whole process and for every library; what counts seconds (the monotonic
clock) goes on as it does when somebody sets a computer's clock.
"""

from __future__ import annotations

import multiprocessing
import threading
import time
from datetime import timedelta
from multiprocessing.connection import Connection

import time_machine

from glue.settings import Settings
from tests.chaos.actors import Actor, Server, Worker, _serve, _work
from tests.chaos.scenario import Control


class Astray(Actor):
    """Its clock is right until it is set."""

    _clock: Connection

    def set_clock(self, wrong: int) -> None:
        """From now on it is so many seconds ahead."""
        self._clock.send(wrong)
        if not self._clock.poll(60):
            raise TimeoutError("a process does not answer")
        self._clock.recv()


class AstrayServer(Astray, Server):
    """A server process with an address of its own."""

    def __init__(self, settings: Settings, control: Control | None = None) -> None:
        self._clock, theirs = multiprocessing.Pipe()
        Actor.__init__(self, _serve_astray, settings, theirs, control)
        theirs.close()
        self.url = f"http://127.0.0.1:{self.hear()}"


class AstrayWorker(Astray, Worker):
    """A worker that looks every 20 ms, for commands of any age."""

    def __init__(self, settings: Settings, control: Control | None = None) -> None:
        self._clock, theirs = multiprocessing.Pipe()
        Actor.__init__(self, _work_astray, settings, theirs, control)
        theirs.close()


# -- in the child ------------------------------------------------------------------------------------------


def _serve_astray(say: Connection, settings: Settings, clock: Connection, control: Control | None) -> None:
    _go_by(clock)
    _serve(say, settings, None, control)


def _work_astray(say: Connection, settings: Settings, clock: Connection, control: Control | None) -> None:
    _go_by(clock)
    _work(say, settings, None, control)


def _go_by(clock: Connection) -> None:
    """From now on this process's clock is as wrong as it is told."""
    traveller = time_machine.travel(timedelta(0), tick=True).start()
    time.time()  # it begins to tick when it is asked for the first time

    def listen() -> None:
        wrong = 0
        while True:
            try:
                told = clock.recv()
            except EOFError:
                return
            traveller.shift(told - wrong)
            wrong = told
            clock.send(wrong)

    threading.Thread(target=listen, daemon=True).start()
