"""An arena for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pytest_postgresql.executors import NoopExecutor

from glue.sandbox.process import SandboxProcess, running
from tests.conftest import _clone, _url_of
from tests.py.mirror.world import World, world
from tests.py.races.helpers import Arena, Sessions
from tests.py.races.helpers import arena as open_arena


@pytest.fixture
def arena(db_url: str) -> Iterator[Arena]:
    """A fresh database; after the test no session may have run into a deadlock."""
    with open_arena(db_url) as made:
        yield made


@pytest.fixture(scope="module")
def common_arena(booking_template: NoopExecutor) -> Iterator[Arena]:
    """One database for a module whose tests have a booking each, and leave those of the others alone."""
    with _clone(booking_template) as janitor, open_arena(_url_of(janitor)) as made:
        yield made


@pytest.fixture(scope="module")
def _common_sessions(common_arena: Arena) -> Sessions:
    return {role: common_arena.sessions(3, role) for role in ("booking_app", "booking_cron", None)}


@pytest.fixture
def sessions(_common_sessions: Sessions) -> Iterator[Sessions]:
    """Three sessions of each role in the common arena; no transaction is open in them."""
    yield _common_sessions
    for role in _common_sessions.values():
        for each in role:
            each.reset()


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
