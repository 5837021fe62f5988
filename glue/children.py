"""Processes that this one starts and answers for: tied to its life, stopped in order, their output kept."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

SOURCE = Path(__file__).resolve().parents[1]
"""Where the package lies, so that a child finds it however we were started."""

LAST_LINES = 20


class ChildError(RuntimeError):
    """A process did not start, or ended by itself; the message holds what it said last."""


class Child:
    """A Python module run as a process of its own.

    It has its own process group, so that Ctrl-C reaches only us and we decide the order of stopping, and on
    Linux it is told to end when we die, however that comes about. What it prints goes to `output`, line by
    line.
    """

    def __init__(
        self,
        name: str,
        module: str,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        *,
        output: Callable[[str], None],
        ready: str = "",
    ) -> None:
        """`ready`: the beginning of the line that says it serves; see `wait_ready`."""
        self.name = name
        self.last_lines: deque[str] = deque(maxlen=LAST_LINES)
        self._output = output
        self._ready = ready
        self._ready_line = ""
        self._changed = threading.Event()
        path = os.pathsep.join(part for part in (str(SOURCE), environment.get("PYTHONPATH", "")) if part)
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            stdin=subprocess.PIPE,  # never written to; its end tells a child that we are gone
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env={**environment, "PYTHONPATH": path, PARENT: str(os.getpid()), "PYTHONUNBUFFERED": "1"},
            process_group=0,
        )
        self._reader = threading.Thread(target=self._read, name=f"output of {name}", daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def is_running(self) -> bool:
        return self._process.poll() is None

    def wait_ready(self, timeout: float) -> str:
        """The line that says it serves. Raises ChildError when it ends before that, or after `timeout` s."""
        if not self._changed.wait(timeout):
            raise ChildError(f"{self.name} did not come up within {timeout:.0f} s{self.said()}")
        if not self._ready_line:
            self._process.wait()
            raise self.ended()
        return self._ready_line

    def ended(self) -> ChildError:
        """What to say of a process that should be running and is not."""
        return ChildError(f"{self.name} ended with exit code {self._process.poll()}{self.said()}")

    def said(self) -> str:
        """The last lines of its output, to go behind a message."""
        return "".join(f"\n    {line}" for line in self.last_lines)

    def stop(self, timeout: float) -> int:
        """SIGTERM, and SIGKILL for it and its own children after `timeout` seconds; returns its exit code."""
        if self.is_running():
            self._process.terminate()
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self._kill_group()
            self._process.wait()
        self._kill_group()  # a child of it that it left behind
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._reader.join(5)
        return self._process.returncode

    def _kill_group(self) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for raw in lines:
                line = raw.rstrip("\n")
                self.last_lines.append(line)
                self._output(line)
                if self._ready and not self._ready_line and line.startswith(self._ready):
                    self._ready_line = line
                    self._changed.set()
        self._changed.set()


# -- in the child ------------------------------------------------------------------------------------------

PARENT = "PGBOOKING_PARENT"
INSIST = 5.0
"""Seconds that a child has to end by itself when its parent is gone, and then again and again."""
_PR_SET_PDEATHSIG = 1


def end_with_parent() -> None:
    """Ask the kernel for SIGTERM when the process that started us dies, and insist on it.

    Python may miss a signal that comes just before its main thread begins to wait for a lock, until the next
    one comes; and not every system has such a thing.
    """
    parent = os.environ.pop(PARENT, "")
    if parent:
        threading.Thread(target=_insist, name="leash", daemon=True).start()
    if not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if parent and os.getppid() != int(parent):  # it died before we asked
        raise SystemExit(1)


def _insist() -> None:
    """Waits for the end of standard input: nothing else holds it open than the process that started us."""
    with suppress(OSError):
        while os.read(0, 1024):
            pass
    while True:
        time.sleep(INSIST)
        os.kill(os.getpid(), signal.SIGTERM)


def main() -> None:
    """`python -m glue.children serve --port 0`: the command line, on the parent's leash."""
    end_with_parent()
    import cli

    cli.main(prog_name="pgbooking")


# -- in the parent -----------------------------------------------------------------------------------------


class Interrupted(KeyboardInterrupt):
    """We were told to stop, by Ctrl-C or by SIGTERM or SIGHUP."""


class Interrupts:
    """Turns SIGINT, SIGTERM and SIGHUP into `Interrupted`, but not in the middle of starting something.

    What is started within `held` is therefore always known to whoever cleans up. In the main thread only.
    """

    SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def __init__(self) -> None:
        self._depth = 0
        self._pending = False
        self._is_over = False

    @contextmanager
    def caught(self) -> Iterator[None]:
        """Signals raise `Interrupted` in this block; afterwards they do what they did before."""
        before = [(number, signal.signal(number, self._handle)) for number in self.SIGNALS]
        try:
            yield
        finally:
            for number, handler in before:
                signal.signal(number, handler)

    @contextmanager
    def held(self) -> Iterator[None]:
        """A signal that comes in this block is raised at its end."""
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1
            if self._pending and not self._depth and not self._is_over:
                self._is_over = True
                raise Interrupted

    def over(self) -> None:
        """We are cleaning up: further signals change nothing."""
        self._is_over = True

    def _handle(self, _number: int, _frame: FrameType | None) -> None:
        if self._is_over:
            return
        if self._depth:
            self._pending = True
            return
        self._is_over = True
        raise Interrupted


def wait_until(condition: Callable[[], bool], timeout: float, pause: float = 0.05) -> bool:
    """Ask again and again until it is so; False after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(pause)
    return True


if __name__ == "__main__":
    main()
