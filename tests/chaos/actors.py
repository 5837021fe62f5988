"""Servers and workers as processes that can be killed at an exact moment.

They are forked from a process that has imported everything, so one starts in a twentieth of a second. A
moment is a point around one call to Stripe; the process strikes itself there with a signal, so no time is
measured. The two moments while Stripe has the request are the sandbox's barriers, see `stage`.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import glue.worker
from glue.app import create_app
from glue.children import end_with_parent
from glue.db import Database
from glue.settings import Settings
from glue.stripe_transport import StripeTransport
from tests.chaos.scenario import Control

DECIDING = "before the decision"
DECIDED = "after the decision's commit"
SENDING = "before sending"
SENT = "after sending"
CARRIED_OUT = "carried out, not answered"
ANSWERED = "after the answer"
RECORDED = "after the commit"

AT_STRIPE = {SENT: "before", CARRIED_OUT: "after"}
"""Moments at which Stripe has the request: on which side of the effect."""


@dataclass(frozen=True)
class Moment:
    """A point around the `skip`+1st POST to `path` (a regular expression). `decision` and `record` are the
    functions whose calls begin and end it; `signal` is what the process gets there."""

    at: str
    path: str
    decision: str
    record: str
    signal: int = signal.SIGKILL
    skip: int = 0


class Actor:
    """A process of ours, seen from outside."""

    def __init__(self, target: Callable[..., None], *arguments: Any) -> None:
        context = multiprocessing.get_context("forkserver")
        # Where pytest is the main program, each child imports it again.
        context.set_forkserver_preload([__name__, *(["pytest"] if "pytest" in sys.modules else [])])
        self._said, theirs = context.Pipe(duplex=False)
        self._process = context.Process(target=_child, args=(target, theirs, *arguments), daemon=True)
        self._process.start()
        theirs.close()

        assert self._process.pid is not None
        self.pid = self._process.pid
        self._code: int | None = None

    def hear(self, seconds: float = 60) -> Any:
        """What it says once it is ready."""
        if not self._said.poll(seconds):
            raise TimeoutError("a process did not start")
        return self._said.recv()

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        if self._code is None:
            self._process.kill()
            self.ended()

    def end(self) -> None:
        """SIGTERM, and wait until it is gone."""
        self._process.terminate()
        self.ended()

    def go_on(self) -> None:
        """Wake it up after SIGSTOP."""
        os.kill(self.pid, signal.SIGCONT)

    def is_stopped(self) -> bool:
        """Whether SIGSTOP holds it."""
        try:
            text = Path(f"/proc/{self.pid}/stat").read_text()
        except OSError:
            return False
        return text.rpartition(")")[2].split()[0] == "T"

    def is_running(self) -> bool:
        return self._code is None and self._process.is_alive()

    def ended(self, seconds: float = 60) -> int:
        """Wait until it is gone; its exit code, -9 for SIGKILL."""
        if self._code is not None:
            return self._code
        self._process.join(seconds)
        code = self._code = self._process.exitcode
        if code is None:
            self._process.kill()
            raise TimeoutError("a process does not end")
        self._process.close()
        self._said.close()
        return code


class Server(Actor):
    """A server process with an address of its own."""

    def __init__(
        self, settings: Settings, moment: Moment | None = None, control: Control | None = None
    ) -> None:
        super().__init__(_serve, settings, moment, control)
        self.url = f"http://127.0.0.1:{self.hear()}"


class Worker(Actor):
    """An outbox worker that looks every 20 ms, for commands of any age."""

    def __init__(
        self, settings: Settings, moment: Moment | None = None, control: Control | None = None
    ) -> None:
        super().__init__(_work, settings, moment, control)


# -- in the child ------------------------------------------------------------------------------------------


def _child(target: Callable[..., None], say: Connection, *arguments: Any) -> None:
    end_with_parent()  # with the process that forked us, and with the one that runs the scenario:
    threading.Thread(target=_end_with_the_run, daemon=True).start()
    logging.disable(logging.CRITICAL)
    target(say, *arguments)


def _end_with_the_run() -> None:
    run = multiprocessing.parent_process()
    assert run is not None
    run.join()
    os._exit(1)


def _serve(say: Connection, settings: Settings, moment: Moment | None, control: Control | None) -> None:
    from werkzeug.serving import make_server

    if control is not None and control.python is not None:
        control.python()
    _strike_at(moment)
    server = make_server("127.0.0.1", 0, create_app(settings), threaded=True)
    say.send(server.server_port)
    server.serve_forever()


def _work(_say: Connection, settings: Settings, moment: Moment | None, control: Control | None) -> None:
    if control is not None and control.python is not None:
        control.python()
    _strike_at(moment)
    glue.worker.Worker = partial(glue.worker.Worker, poll=0.02, min_age=0)  # type: ignore[assignment,misc]
    glue.worker.main(settings)


def _strike_at(moment: Moment | None) -> None:
    """From now on this process gets the moment's signal at the moment."""
    if moment is None or moment.at in AT_STRIPE:
        return
    left = [moment.skip]

    def strike(at: str) -> None:
        if at != moment.at:
            return
        left[0] -= 1
        if left[0] == -1:
            os.kill(os.getpid(), moment.signal)
            if moment.signal == signal.SIGSTOP:
                time.sleep(0.01)  # the signal reaches every thread in its own time

    def around(call: Callable[..., Any]) -> Callable[..., Any]:
        def asked(self: Database, query: str, params: Mapping[str, Any] | None = None) -> Any:
            if f"booking.{moment.decision}(" in query:
                strike(DECIDING)
            found = call(self, query, params)
            if found and f"booking.{moment.decision}(" in query:
                strike(DECIDED)
            if f"booking.{moment.record}(" in query:
                strike(RECORDED)
            return found

        return asked

    Database.one = around(Database.one)  # type: ignore[method-assign]
    Database.all = around(Database.all)  # type: ignore[method-assign]
    send = StripeTransport.request

    def sent(self: StripeTransport, method: str, url: str, *arguments: Any, **named: Any) -> Any:
        if method.upper() != "POST" or not re.search(moment.path, urlsplit(url).path):
            return send(self, method, url, *arguments, **named)
        strike(SENDING)
        answer = send(self, method, url, *arguments, **named)
        strike(ANSWERED)
        return answer

    StripeTransport.request = sent  # type: ignore[method-assign]
