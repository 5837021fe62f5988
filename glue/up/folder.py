"""The folder of `pgbooking up`: who holds it, and what it remembers of the last run."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from glue.system import Ports, Secrets, SystemFailure

LOCK_PATIENCE = 10.0
"""Seconds for the rest of a run that was killed to go away."""


@dataclass(frozen=True)
class Kept:
    """What the folder remembers of the last run."""

    secrets: Secrets = field(default_factory=Secrets)
    ports: Ports = field(default_factory=Ports)


@contextmanager
def alone(folder: Path) -> Iterator[int]:
    """The folder is ours while the block runs; yields the descriptor that holds it. Raises SystemFailure."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(folder / "up.lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise SystemFailure(f"{folder} cannot be used: {error.strerror}") from error
    try:
        deadline = time.monotonic() + LOCK_PATIENCE
        while not _locked(lock):
            if time.monotonic() > deadline:
                holder = os.pread(lock, 20, 0).decode() or "?"
                raise SystemFailure(f"pgbooking up already runs on {folder} (process {holder})")
            time.sleep(0.1)
        os.ftruncate(lock, 0)
        os.pwrite(lock, str(os.getpid()).encode(), 0)
        yield lock
    finally:
        os.close(lock)


def _locked(descriptor: int) -> bool:
    with suppress(BlockingIOError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False


def load(folder: Path) -> Kept:
    """What an earlier run left, else what a first one needs. Raises SystemFailure."""
    file = folder / "state.json"
    if not file.exists():
        return Kept()
    try:
        values = json.loads(file.read_text())
        return Kept(Secrets(**values["secrets"]), Ports(**values["ports"]))
    except (ValueError, KeyError, TypeError) as error:
        raise SystemFailure(f"{file} cannot be read: {error}") from error


def save(folder: Path, kept: Kept) -> None:
    """For the next run."""
    write_private(folder / "state.json", json.dumps(asdict(kept), indent=2) + "\n")


def write_private(file: Path, text: str) -> None:
    """Whole or not at all, and for the owner's eyes only."""
    fresh = file.with_suffix(".new")
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as handle:
        handle.write(text)
    fresh.replace(file)
