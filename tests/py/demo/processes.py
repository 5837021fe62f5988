"""The command as a process of its own, and what it leaves behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

REPOSITORY = Path(__file__).resolve().parents[3]
MARK = "MARK_OF_TEST"
PATIENCE = 300.0
"""Seconds; a test that waits so long has failed."""


class Command:
    """`pgbooking ...`, with its output line by line."""

    def __init__(self, *arguments: str, env: Mapping[str, str] | None = None) -> None:
        self.mark = uuid.uuid4().hex
        given = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"}
        path = os.pathsep.join(part for part in (str(REPOSITORY), given.get("PYTHONPATH", "")) if part)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "cli", *arguments],
            cwd=REPOSITORY,  # where coverage looks for what it measured
            env={**given, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1", MARK: self.mark, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._lines: dict[str, list[str]] = {"out": [], "err": []}
        self._changed = threading.Condition()
        self._readers = [
            threading.Thread(target=self._read, args=(name, stream), daemon=True)
            for name, stream in (("out", self._process.stdout), ("err", self._process.stderr))
        ]
        for reader in self._readers:
            reader.start()

    @property
    def output(self) -> str:
        with self._changed:
            return "\n".join(self._lines["out"])

    @property
    def errors(self) -> str:
        with self._changed:
            return "\n".join(self._lines["err"])

    def wait_for(self, text: str, where: str = "out") -> str:
        """The first line that holds this text."""

        def found() -> str | None:
            return next((line for line in self._lines[where] if text in line), None)

        with self._changed:
            self._changed.wait_for(lambda: found() is not None or self._process.poll() is not None, PATIENCE)
            line = found()
        assert line is not None, f"no line with {text!r}:\n{self.output}\n{self.errors}"
        return line

    def send(self, number: signal.Signals) -> None:
        """As Ctrl-C in a terminal does: to the whole foreground process group."""
        os.killpg(self._process.pid, number)

    def finish(self) -> int:
        """Its exit code, once it has ended and all its output is read."""
        code = self._process.wait(PATIENCE)
        for reader in self._readers:
            reader.join(PATIENCE)
        return code

    def _read(self, name: str, stream: IO[str] | None) -> None:
        assert stream is not None
        with stream:
            for line in stream:
                with self._changed:
                    self._lines[name].append(line.rstrip("\n"))
                    self._changed.notify_all()
        with self._changed:
            self._changed.notify_all()


@contextmanager
def started(*arguments: str, env: Mapping[str, str] | None = None) -> Iterator[Command]:
    """The command for the length of the block; nothing of it survives the block."""
    command = Command(*arguments, env=env)
    try:
        yield command
    finally:
        for pid in marked(command.mark):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        command.finish()


def marked(mark: str) -> dict[int, str]:
    """Every process that descends from the command, however far, with its command line."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if f"{MARK}={mark}".encode() in (folder / "environ").read_bytes().split(b"\0"):
                found[int(folder.name)] = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
    return found


def left_behind(command: Command) -> dict[int, str]:
    """What still runs of the command after it has ended. What is just finishing gets the time to do so."""
    deadline = time.monotonic() + PATIENCE
    while (left := marked(command.mark)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return left
