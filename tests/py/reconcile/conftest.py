"""One sandbox process for the run, a world of its own for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from glue.sandbox.process import SandboxProcess, running
from tests.py.mirror.world import World, world


@pytest.fixture(scope="session")
def sandbox() -> Iterator[SandboxProcess]:
    with running() as process:
        yield process


@pytest.fixture
def here(db_url: str, sandbox: SandboxProcess) -> Iterator[World]:
    """A fresh database and an empty sandbox."""
    sandbox.control.reset()
    with world(db_url, sandbox) as made:
        yield made
