"""Clients: pgbench for what succeeds, psql for what is refused (pgbench gives up at the first error)."""

from __future__ import annotations

import contextlib
import os
import re
import resource
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
import psycopg

from bench.stage import Database, program


@dataclass(frozen=True)
class Sample:
    """What one run came to."""

    rate: float
    """Calls per second, all clients together."""
    p95_ms: float = 0.0
    p99_ms: float = 0.0
    cpu_us: float = 0.0
    """Processor time of server and clients a call: says more than the rate while others use the machine."""
    mean_ms: float = 0.0


def pgbench(
    database: Database,
    script: str,
    *,
    clients: int,
    calls: int,
    variables: Mapping[str, int] | None = None,
    role: str = "booking_app",
    rate: int = 0,
    wait: Callable[[], object] = lambda: None,
    keep: Callable[[float], bool] = lambda _: True,
) -> Sample:
    """`calls` calls of a script by `clients` prepared connections. The script may use :n, the call's own
    number from variable `first` on.

    `rate`: calls begin at random moments, so many a second, instead of as soon as the one before has ended;
    whoever begins late waits already. Of the times that calls took those are kept that ended when `keep`
    says (seconds of the epoch), asked after `wait` has returned; all, when none would be left."""
    each = max(1, calls // clients)
    defined = {"first": 0, **(variables or {}), "each": each, "i": -1}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "script.sql"
        file.write_text("\\set i :i + 1\n\\set n :first + :client_id * :each + :i\n" + script.strip() + "\n")
        command = [program("pgbench"), "-n", "-M", "prepared", "-f", str(file), "-c", str(clients)]
        command += [
            "-j",
            str(min(clients, 2)),
            "-t",
            str(each),
            "-l",
            "--log-prefix",
            str(Path(folder) / "log"),
        ]
        for name, value in defined.items():
            command += ["-D", f"{name}={value}"]
        if rate:
            command += ["-R", str(rate)]
        cpu = Cpu(database)
        done = subprocess.run(
            [*command, "-d", database.url],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "PGOPTIONS": f"-c role={role}"},
        )
        used = cpu.used()
        found = re.search(r"^tps = ([0-9.]+)", done.stdout, re.MULTILINE)
        if done.returncode != 0 or found is None or "aborted" in done.stderr:
            raise RuntimeError(f"pgbench: {done.stderr.strip()[-800:] or done.stdout[-800:]}")
        wait()
        logged = [line.split() for log in Path(folder).glob("log*") for line in log.read_text().splitlines()]
        kept = [call for call in logged if keep(int(call[4]) + int(call[5]) / 1_000_000)]
        waits = sorted(int(call[2]) / 1000 for call in kept or logged)
    return Sample(
        float(found[1]), quantile(waits, 0.95), quantile(waits, 0.99), used / (each * clients) * 1e6
    )


def psql(database: Database, statements: Sequence[str], *, role: str = "booking_app") -> list[list[Answer]]:
    """One psql for each text of statements, all let go at once; they may fail. What became of each."""
    gate = 4711
    with psycopg.connect(database.url, autocommit=True) as holder:
        holder.execute("select pg_advisory_lock(%s)", [gate])
        processes = [_psql(database, text, gate, role) for text in statements]
        while _waiting(holder) < len(processes):
            if any(process.poll() is not None for process in processes):
                raise RuntimeError("a psql ended before it began")
            time.sleep(0.01)
        holder.execute("select pg_advisory_unlock(%s)", [gate])
        return [_answers(process.communicate()[0]) for process in processes]


@dataclass(frozen=True)
class Answer:
    """How one statement of psql ended."""

    ok: bool
    ms: float


def _psql(database: Database, text: str, gate: int, role: str) -> subprocess.Popen[str]:
    with tempfile.NamedTemporaryFile("w", suffix=".sql", delete=False) as file:
        file.write(
            "\\set QUIET on\n\\set VERBOSITY sqlstate\n\\pset tuples_only on\n\\pset format unaligned\n"
        )
        file.write(
            f"select pg_advisory_lock_shared({gate}), pg_advisory_unlock_shared({gate}) \\g /dev/null\n"
            "\\timing on\n"
        )
        file.write(text + f"\n\\! rm -f {file.name}\n")
    return subprocess.Popen(
        [program("psql"), "-X", "-d", database.url, "-f", file.name],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PGOPTIONS": f"-c role={role} -c lc_messages=C"},
    )


def _waiting(holder: psycopg.Connection[tuple[object, ...]]) -> int:
    row = holder.execute(
        "select count(*) from pg_locks l where l.locktype = 'advisory' and not l.granted and l.database ="
        " (select d.oid from pg_database d where d.datname = current_database())"
    ).fetchone()
    return int(str(row[0])) if row else 0


def _answers(output: str) -> list[Answer]:
    """psql says `Time: 0.123 ms` after each statement, and before it `ERROR:  PT409` where it failed."""
    answers = []
    failed = False
    for line in output.splitlines():
        if "ERROR:" in line:
            failed = True
        elif line.startswith("Time: "):
            answers.append(Answer(not failed, float(line.split()[1])))
            failed = False
    return answers


def quantile(values: Sequence[float], share: float) -> float:
    """Of sorted values; 0 when there are none."""
    return values[min(len(values) - 1, int(len(values) * share))] if values else 0.0


class Cpu:
    """Processor time of the server's processes that end from now on, and of the programs that we start.

    Of a server on another machine only ours is seen."""

    def __init__(self, database: Database) -> None:
        self._name = database.name
        self._server = server_of(database)
        self._begin = self._now()

    def used(self) -> float:
        """Seconds so far."""
        return self._now() - self._begin

    def _now(self) -> float:
        deadline = time.monotonic() + 5
        while self._is_ending() and time.monotonic() < deadline:
            time.sleep(0.005)  # a process counts once its parent has seen its end
        ours = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds = ours.ru_utime + ours.ru_stime
        if self._server is not None:
            times = self._server.cpu_times()
            seconds += times.children_user + times.children_system
        return float(seconds)

    def _is_ending(self) -> bool:
        for child in self._server.children() if self._server is not None else []:
            with contextlib.suppress(psutil.Error):
                title = " ".join(child.cmdline())
                if not title or (self._name in title and "autovacuum" not in title):
                    return True
        return False


def server_of(database: Database) -> psutil.Process | None:
    """The database server's first process, when it runs on this machine."""
    file = Path(str(database.value("show data_directory"))) / "postmaster.pid"
    try:
        return psutil.Process(int(file.read_text().split("\n", 1)[0]))
    except (OSError, ValueError, psutil.Error):
        return None
