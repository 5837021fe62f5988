"""The client of servers: wrk, which asks prepared requests, each once, over connections that stay open.

A server under test needs all of the processor it can get, and a client written in Python takes as much of it
as the server. What wrk, in C, takes itself is measured with each load (`Answered.client_us`).
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import psutil

from bench.drive import Sample, quantile, server_of
from bench.stage import Database

SCRIPT = Path(__file__).with_name("load.lua")
ROOT = Path(__file__).parents[1]
PATIENCE = 60.0
"""Seconds after which something is wrong: a server has not started, or no longer does anything."""


def request(
    path: str,
    body: bytes | Mapping[str, Any],
    headers: Mapping[str, str] | None = None,
    *,
    method: str = "POST",
) -> bytes:
    """As it goes over the wire, on a connection that stays open. A mapping is sent as JSON."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [
        f"{method} {path} HTTP/1.1",
        "Host: 127.0.0.1",
        "Content-Type: application/json",
        f"Content-Length: {len(content)}",
        *(f"{name}: {value}" for name, value in (headers or {}).items()),
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + content


@dataclass(frozen=True)
class Answered:
    """What became of a load."""

    seconds: float
    """From the first request to the last answer."""
    ms: list[float]
    """How long each took, sorted."""
    statuses: Mapping[int, int]
    """How often each HTTP status came."""
    cpu_us: float
    """Processor time of the servers and of the database's processes, a request."""
    client_us: float
    """Processor time of wrk itself, a request."""

    @property
    def sample(self) -> Sample:
        return Sample(
            len(self.ms) / self.seconds,
            quantile(self.ms, 0.95),
            quantile(self.ms, 0.99),
            self.cpu_us,
            sum(self.ms) / len(self.ms),
        )


def load(
    server: Server,
    requests: Iterable[bytes],
    *,
    connections: int,
    database: Database | None = None,
    allowed: Sequence[int] = (200, 201),
) -> Answered:
    """Ask them all, dealt out among so many connections. Each waits for its answer before it goes on.

    `database`: its processor time counts, too. Raises RuntimeError when an answer has another status than the
    allowed ones, or does not come.
    """
    with tempfile.TemporaryDirectory(prefix="pgbooking-load-") as name:
        folder = Path(name)
        total = _deal(requests, folder, connections)
        cpu = Cpu(server.processes(), database)
        with _running_wrk(server.port, connections, folder) as wrk:
            _wait(wrk, folder, connections, server)
            used = cpu.used()
            own = psutil.Process(wrk.pid).cpu_times()
        answers = [
            (float(asked), float(answered), int(status))
            for file in folder.glob("*.out")
            for asked, answered, status in (line.split() for line in file.read_text().splitlines())
        ]
    statuses: dict[int, int] = {}
    for _, _, status in answers:
        statuses[status] = statuses.get(status, 0) + 1
    if len(answers) != total or not set(statuses) <= set(allowed):
        raise RuntimeError(f"of {total} requests were answered, by status: {statuses}{server.said()}")
    seconds = (max(end for _, end, _ in answers) - min(begin for begin, _, _ in answers)) / 1e6
    waits = sorted((end - begin) / 1000 for begin, end, _ in answers)
    return Answered(seconds, waits, statuses, used / total * 1e6, (own.user + own.system) / total * 1e6)


def _deal(requests: Iterable[bytes], folder: Path, connections: int) -> int:
    """A file for each connection; how many there are in all."""
    total = 0
    with contextlib.ExitStack() as stack:
        files: list[IO[bytes]] = [
            stack.enter_context((folder / f"{number}.in").open("wb")) for number in range(connections)
        ]
        for total, text in enumerate(requests, 1):
            files[(total - 1) % connections].write(b"%d\n%s" % (len(text), text))
    return total


@contextmanager
def _running_wrk(port: int, connections: int, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    program = shutil.which("wrk")
    if program is None:
        raise RuntimeError("wrk is missing (Debian: apt-get install wrk)")
    count = str(connections)
    options = ["-t", count, "-c", count, "-d", "1h", "-s", str(SCRIPT)]
    with (folder / "errors").open("wb") as errors:
        process = subprocess.Popen(
            [program, *options, f"http://127.0.0.1:{port}", str(folder)],
            stdout=subprocess.DEVNULL,
            stderr=errors,
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def _wait(wrk: subprocess.Popen[bytes], folder: Path, connections: int, server: Server) -> None:
    """Until every connection has written down its answers."""
    last, moved = -1, time.monotonic()
    while (ended := len(list(folder.glob("*.out")))) < connections:
        if wrk.poll() is not None:
            raise RuntimeError("wrk ended: " + (folder / "errors").read_text()[-500:])
        used = sum(process.cpu_times().user for process in server.processes())
        if round(used, 1) != last:
            last, moved = round(used, 1), time.monotonic()
        if time.monotonic() - moved > PATIENCE:
            raise RuntimeError(
                f"{server} does not answer {connections - ended} of {connections} connections{server.said()}"
            )
        time.sleep(0.02)


class Server:
    """A server that runs: where it is to be reached, and its processes."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, output: Path) -> None:
        self._command = " ".join(map(str, process.args))  # type: ignore[arg-type]
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self._process = psutil.Process(process.pid)
        self._output = output

    def __str__(self) -> str:
        return self._command

    def processes(self) -> list[psutil.Process]:
        """All of them, the one that was started first."""
        return [self._process, *self._process.children(recursive=True)]

    def memory_mb(self) -> list[float]:
        """Of each worker process, what only it holds (the parent's pages are shared)."""
        return [found.memory_full_info().uss / 2**20 for found in self.processes()[1:]]

    def said(self) -> str:
        """The end of what it printed, to go behind a message."""
        return "\n" + self._output.read_text(errors="replace")[-1500:]


@contextmanager
def served(
    command: Callable[[int], Sequence[str]], environment: Mapping[str, str], *, path: str = "/"
) -> Iterator[Server]:
    """A server of ours or of others, from its first answer to `path` (whichever) to the end of the block.

    `command` makes of a free port what to run. Of our own environment only the essentials are handed on.
    """
    port = _free_port()
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
    with tempfile.TemporaryDirectory(prefix="pgbooking-served-") as folder:
        output = Path(folder) / "output"
        with output.open("wb") as sink:
            process = subprocess.Popen(
                command(port),
                cwd=ROOT,
                env={**kept, "PYTHONPATH": str(ROOT), **environment},
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                process_group=0,
            )
        server = Server(process, port, output)
        try:
            _wait_ready(process, server, path)
            yield server
        finally:
            _stop(process, server)


def python(*arguments: str) -> list[str]:
    """A command that runs our own Python."""
    return [sys.executable, *arguments]


def _wait_ready(process: subprocess.Popen[bytes], server: Server, path: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        if process.poll() is not None:
            raise RuntimeError(f"the server ended{server.said()}")
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)
        try:
            connection.request("GET", path)
            connection.getresponse().read()
        except (OSError, http.client.HTTPException):
            if time.monotonic() > deadline:
                raise RuntimeError(f"the server does not come up{server.said()}") from None
            time.sleep(0.05)
        else:
            return
        finally:
            connection.close()


def _stop(process: subprocess.Popen[bytes], server: Server) -> None:
    family = server.processes() if process.poll() is None else []
    if process.poll() is None:
        process.terminate()
    try:
        process.wait(15)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for left in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            left.kill()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Cpu:
    """Processor time of servers' processes that run on, and of the database's server, from now on."""

    def __init__(self, processes: Sequence[psutil.Process], database: Database | None) -> None:
        self._processes = processes
        self._database = server_of(database) if database is not None else None
        self._begin = self._now()

    def used(self) -> float:
        """Seconds so far."""
        return self._now() - self._begin

    def _now(self) -> float:
        family = [*self._processes]
        seconds = 0.0
        if self._database is not None:
            # What has ended meanwhile counts with its parent.
            ended = self._database.cpu_times()
            seconds += ended.children_user + ended.children_system
            family += [self._database, *self._database.children()]
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                seconds += times.user + times.system
        return float(seconds)
